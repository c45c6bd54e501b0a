"""LazyModuleMixin: modules that learn the shapes of their parameters from their first input."""

from __future__ import annotations

from typing import Any

from taper.nn.parameter import is_lazy

__all__ = ["LazyModuleMixin"]


class LazyModuleMixin:
    """Put before the module's own class among the bases; define `initialize_parameters`.

    The first call runs it with the inputs; then the module becomes an instance of `cls_to_become`.
    """

    cls_to_become: type | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook: Any = self._register_load_state_dict_pre_hook(self._lazy_load_hook)  # type: ignore[attr-defined]
        self._initialize_hook: Any = self.register_forward_pre_hook(  # type: ignore[attr-defined]
            self._infer_parameters, with_kwargs=True
        )

    def _lazy_load_hook(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Gives parameters without a shape that of the tensors about to be loaded."""
        module: Any = self
        for held in (module._parameters, module._buffers):
            for name, own in held.items():
                key = prefix + name
                if own is None or not is_lazy(own) or key not in state_dict:
                    continue
                given = state_dict[key]
                if not is_lazy(given):
                    own.materialize(given.shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Makes the parameters for these inputs; to be overridden."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        module: Any = self
        return any(
            is_lazy(held) for held in (*module._parameters.values(), *module._buffers.values())
        )

    def _infer_parameters(self, module: Any, args: Any, kwargs: Any = None) -> None:
        """The hook before the first forward."""
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")  # type: ignore[attr-defined]
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook
        del module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with "
            "`DataParallel`. Run a dummy forward pass to correctly initialize the "
            "modules"
        )
