"""torch.backends.cuda: switches that programs set; there is no GPU."""

from __future__ import annotations


class _Products:
    """How a GPU would compute products of matrices."""

    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True


matmul = _Products()


def is_built() -> bool:
    """False."""
    return False
