"""torch.nn.parallel on one device: DataParallel hands its inputs to the module as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taper.nn.modules.module import Module

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]


class DataParallel(Module):
    """The module itself, under the name `module`, as PyTorch's is where there is no GPU.

    >>> DataParallel(Linear(2, 3)).state_dict().keys()
    odict_keys(['module.weight', 'module.bias'])
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """module(*inputs, **module_kwargs), on the one device there is."""
    given = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
    return module(*given, **(module_kwargs or {}))


class DistributedDataParallel(DataParallel):
    """The module itself, under the name `module`, in a group of one process.

    Raises: ValueError before distributed.init_process_group, RuntimeError for a module without
        parameters that learn.
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0,
        broadcast_buffers: bool = True, **options: Any,
    ) -> None:  # fmt: skip
        from taper import distributed

        distributed.get_world_size()  # complains where there is no group
        super().__init__(module)
        if not any(parameter.requires_grad for parameter in module.parameters()):
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter "
                "that requires a gradient."
            )

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """A context in which gradients are not exchanged, as they never are."""
        yield
