"""Batch normalization, with running statistics."""

from __future__ import annotations

import sys
from typing import Any

import taper
from taper.dispatch import touch
from taper.nn import functional as F
from taper.nn import init
from taper.nn.modules.lazy import LazyModuleMixin
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter, UninitializedBuffer, UninitializedParameter
from taper.tensor import Tensor

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "SyncBatchNorm",
]


class _NormBase(Module):
    """Weight, bias and running statistics of the batch and instance norms."""

    # Since version 2 num_batches_tracked is saved.
    _version = 2
    __constants__ = ["track_running_stats", "momentum", "eps", "num_features", "affine"]
    num_features: int
    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(
                name,
                Parameter(taper.empty(num_features, device=device, dtype=dtype))
                if wanted
                else None,
            )
        if track_running_stats:
            self.register_buffer(
                "running_mean", taper.zeros(num_features, device=device, dtype=dtype)
            )
            self.register_buffer(
                "running_var", taper.ones(num_features, device=device, dtype=dtype)
            )
            self.register_buffer("num_batches_tracked", taper.zeros((), dtype=taper.long))
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forgets the statistics: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()  # type: ignore[union-attr]
            self.running_var.fill_(1)  # type: ignore[union-attr]
            self.num_batches_tracked.zero_()  # type: ignore[union-attr]

    def reset_parameters(self) -> None:
        """Forgets the statistics; weight 1, bias 0."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)  # type: ignore[arg-type]
            if self.bias is not None:
                init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        version = local_metadata.get("version", None)
        if (version is None or version < 2) and self.track_running_stats:
            own = self.num_batches_tracked
            state_dict.setdefault(
                prefix + "num_batches_tracked",
                taper.zeros((), dtype=taper.long) if own is None else own,
            )
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class _BatchNorm(_NormBase):
    def forward(self, input: Tensor) -> Any:
        """The normalized input; in training mode the running statistics move on."""
        self._check_input_dim(input)
        # Read past __getattr__, which would cost several times as much (see Linear).
        buffers, own = self._buffers, self._parameters
        training, tracks = self.training, self.track_running_stats
        try:
            weight, bias = own["weight"], own["bias"]
            mean, var = buffers["running_mean"], buffers["running_var"]
            count = buffers["num_batches_tracked"]
        except KeyError:
            weight, bias = self.weight, self.bias  # type: ignore[assignment]
            mean, var, count = self.running_mean, self.running_var, self.num_batches_tracked
        factor = 0.0 if self.momentum is None else self.momentum
        if training and tracks and count is not None:
            count._array += 1  # add_(1) without the road through an op
            touch(count)
            if self.momentum is None:
                factor = 1.0 / float(count)  # the mean over all batches so far
        if training and not tracks:
            mean = var = None  # left over from before track_running_stats was switched off
        return F.batch_norm(
            input,
            mean,
            var,
            weight,
            bias,
            training or (mean is None and var is None),
            factor,
            self.eps,
        )


def _expect(input: Tensor, *dims: int) -> None:
    if input.dim() not in dims:
        wanted = " or ".join(f"{n}D" for n in dims)
        raise ValueError(f"expected {wanted} input (got {input.dim()}D input)")


class BatchNorm1d(_BatchNorm):
    """Gives every feature mean 0 and variance 1 over the batch, then scales and shifts it.

    Shape: input (batch, features) or (batch, features, length).
    Source: Ioffe and Szegedy, Batch normalization, 2015.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 3):
            _expect(input, 2, 3)


class BatchNorm2d(_BatchNorm):
    """Gives every channel mean 0 and variance 1 over the batch, then scales and shifts it.

    Shape: input (batch, channels, height, width).
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4:
            _expect(input, 4)


class BatchNorm3d(_BatchNorm):
    """Gives every channel mean 0 and variance 1 over the batch, then scales and shifts it.

    Shape: input (batch, channels, depth, height, width).
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 5:
            _expect(input, 5)


class SyncBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes. In a single process it is an ordinary one.

    Raises: NotImplementedError in training with more than one process.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            device=device,
            dtype=dtype,
            bias=bias,
        )
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    def forward(self, input: Tensor) -> Any:
        """The normalized input."""
        self._check_input_dim(input)
        if input.size(1) == 0:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")
        if self.training and _process_count(self.process_group) > 1:
            raise NotImplementedError(
                "SyncBatchNorm over several processes is not available in "
                "taper yet; use BatchNorm or GroupNorm"
            )
        return super().forward(input)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with every batch norm inside replaced by a SyncBatchNorm of the same state."""
        made: Module = module
        if isinstance(module, _BatchNorm):
            sync = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
                bias=module.bias is not None,
            )
            if module.affine:
                sync.weight, sync.bias = module.weight, module.bias
            sync.running_mean, sync.running_var = module.running_mean, module.running_var
            sync.num_batches_tracked = module.num_batches_tracked
            sync.training = module.training
            made = sync
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made


def _process_count(group: Any) -> int:
    """Processes that take part; 1 unless torch.distributed was set up."""
    distributed = sys.modules.get("taper.distributed")
    if distributed is None or not distributed.is_initialized():
        return 1
    return int(distributed.get_world_size(group))


# ---------------------------------------------------------------- features counted at first use


class _LazyNormBase(LazyModuleMixin, _NormBase):
    """Takes num_features from the first input."""

    weight: UninitializedParameter | None
    bias: UninitializedParameter | None
    running_mean: Any
    running_var: Any

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        # Without affine and statistics nothing is made that would need num_features.
        super().__init__(0, eps, momentum, False, False, device=device, dtype=dtype)
        self.affine = affine
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = taper.zeros((), dtype=taper.long)

    def reset_parameters(self) -> None:
        """Sets weight, bias and statistics, once there are any."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Makes parameters and statistics for this input."""
        if not self.has_uninitialized_params():
            return
        self.num_features = input.shape[1]
        for held in (self.weight, self.bias, self.running_mean, self.running_var):
            if held is not None:
                held.materialize((self.num_features,))
        self.reset_parameters()


class LazyBatchNorm1d(_LazyNormBase, _BatchNorm):
    """A BatchNorm1d that takes num_features from its first input."""

    cls_to_become = BatchNorm1d
    _check_input_dim = BatchNorm1d._check_input_dim


class LazyBatchNorm2d(_LazyNormBase, _BatchNorm):
    """A BatchNorm2d that takes num_features from its first input."""

    cls_to_become = BatchNorm2d
    _check_input_dim = BatchNorm2d._check_input_dim


class LazyBatchNorm3d(_LazyNormBase, _BatchNorm):
    """A BatchNorm3d that takes num_features from its first input."""

    cls_to_become = BatchNorm3d
    _check_input_dim = BatchNorm3d._check_input_dim
