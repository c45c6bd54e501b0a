"""The losses PyTorch has at its top level too, where 0, 1 and 2 stand for none, mean and sum.

PyTorch's own default for most of them is 0 there, although the functions in nn.functional take the
mean.
"""

from __future__ import annotations

from taper.op import public
from taper.ops.choose import clamp_min
from taper.ops.likelihood_loss import (
    binary_cross_entropy_with_logits,
    kl_divergences,
    poisson_nll_loss,
)
from taper.ops.margin_loss import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    triplet_margin_loss,
)
from taper.ops.reduction import from_number, reduced
from taper.tensor import Tensor


@public(name="margin_ranking_loss")
def numbered_margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Tensor:
    """nn.functional.margin_ranking_loss, with 0, 1, 2 for none, mean, sum."""
    loss = clamp_min(-target * (input1 - input2) + margin, 0)
    return reduced(loss, from_number(reduction))


@public(name="hinge_embedding_loss")
def numbered_hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 0
) -> Tensor:
    """nn.functional.hinge_embedding_loss, with 0, 1, 2 for none, mean, sum."""
    return hinge_embedding_loss(input, target, margin, reduction=from_number(reduction))


@public(name="cosine_embedding_loss")
def numbered_cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Tensor:
    """nn.functional.cosine_embedding_loss, with 0, 1, 2 for none, mean, sum."""
    return cosine_embedding_loss(input1, input2, target, margin, reduction=from_number(reduction))


@public(name="triplet_margin_loss")
def numbered_triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: int = 0,
) -> Tensor:
    """nn.functional.triplet_margin_loss, with 0, 1, 2 for none, mean, sum."""
    return triplet_margin_loss(
        anchor, positive, negative, margin, p, eps, swap, reduction=from_number(reduction)
    )


@public(name="kl_div")
def numbered_kl_div(
    input: Tensor, target: Tensor, reduction: int = 0, *, log_target: bool = False
) -> Tensor:
    """nn.functional.kl_div, with 0, 1, 2 for none, mean, sum."""
    return reduced(kl_divergences(input, target, log_target), from_number(reduction))


@public(name="poisson_nll_loss")
def numbered_poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int
) -> Tensor:
    """nn.functional.poisson_nll_loss, with 0, 1, 2 for none, mean, sum."""
    return poisson_nll_loss(input, target, log_input, full, None, eps, None, from_number(reduction))


@public(name="binary_cross_entropy_with_logits")
def numbered_binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: int = 0,
) -> Tensor:
    """nn.functional.binary_cross_entropy_with_logits, with 0, 1, 2 for none, mean, sum."""
    return binary_cross_entropy_with_logits(
        input, target, weight, None, None, from_number(reduction), pos_weight
    )
