"""Losses: values, reductions, ignored and weighted classes, warnings, errors, edges.

The generic checks of every op (derivatives, strides, dtypes) are in test_every_op.py; here are
values by PyTorch 2.13 and by hand.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn
from taper.autograd import gradcheck

inf, nan = math.inf, math.nan


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def wave(*shape, speed=0.7, shift=0.0):
    """Float64 numbers between -1 and 1 that any package can make."""
    count = math.prod(shape)
    values = np.sin(np.arange(count) * speed + shift)
    return torch.tensor(values.reshape(shape).tolist(), dtype=torch.float64)


def scores():
    return wave(3, 5).mul(2).requires_grad_()


def chances(shift=0.0):
    return (wave(3, 5, shift=shift) + 1) / 2


CLASSES = [1, 4, 0]
SIGNS = [[1.0, -1, 1, 1, -1], [-1.0, -1, 1, -1, 1], [1.0, 1, 1, -1, -1]]
LISTED = [[1, 3, -1, 0, 0], [-1, 0, 0, 0, 0], [4, 0, 2, -1, 1]]

# Each loss of scores(), and what else it takes; its "mean", "sum" and the sum of the absolute
# values of the mean's gradient, by PyTorch 2.13 in float64.
CASES = {
    "l1_loss": lambda: [chances()],
    "mse_loss": lambda: [chances()],
    "smooth_l1_loss": lambda: [chances()],
    "huber_loss": lambda: [chances()],
    "cross_entropy": lambda: [torch.tensor(CLASSES)],
    "cross_entropy of probabilities": lambda: [chances(1.0).softmax(1)],
    "nll_loss": lambda: [torch.tensor(CLASSES)],
    "binary_cross_entropy_with_logits": lambda: [chances()],
    "soft_margin_loss": lambda: [torch.tensor(SIGNS)],
    "hinge_embedding_loss": lambda: [torch.tensor(SIGNS)],
    "multi_margin_loss": lambda: [torch.tensor(CLASSES)],
    "multilabel_margin_loss": lambda: [torch.tensor(LISTED)],
    "multilabel_soft_margin_loss": lambda: [chances()],
    "poisson_nll_loss": lambda: [chances()],
    "gaussian_nll_loss": lambda: [chances(), chances(2.0)],
    "margin_ranking_loss": lambda: [chances(), torch.tensor(SIGNS)],
    "cosine_embedding_loss": lambda: [chances(), torch.tensor([1.0, -1, 1])],
    "triplet_margin_loss": lambda: [chances(), chances(1.0)],
    "triplet_margin_with_distance_loss": lambda: [chances(), chances(1.0)],
}
GOLDEN = {
    "l1_loss": [0.8527597125066422, 12.791395687599632, 1.0],
    "mse_loss": [1.0336135754785987, 15.504203632178982, 1.7055194250132844],
    "smooth_l1_loss": [0.4567146758497015, 6.8507201377455225, 0.6991706411881299],
    "huber_loss": [0.4567146758497015, 6.8507201377455225, 0.6991706411881299],
    "cross_entropy": [1.339700307475369, 4.019100922426107, 1.4195357634619938],
    "cross_entropy of probabilities": [1.7514693015976315, 5.254407904792894, 0.5189042203449726],
    "nll_loss": [-0.8786787909605532, -2.6360363728816596, 1.0],
    "binary_cross_entropy_with_logits": [
        0.4411209626161808,
        6.616814439242711,
        0.048896696656259925,
    ],
    "soft_margin_loss": [0.61179861921547, 9.17697928823205, 0.3835989046659532],
    "hinge_embedding_loss": [1.0598389839871494, 15.897584759807241, 0.9333333333333333],
    "multi_margin_loss": [0.4765737020085951, 1.4297211060257853, 0.9333333333333333],
    "multilabel_margin_loss": [0.8428440597755026, 2.5285321793265076, 1.0666666666666667],
    "multilabel_soft_margin_loss": [0.4411209626161809, 1.3233628878485426, 0.048896696656259946],
    "poisson_nll_loss": [2.0677698781442237, 31.016548172163354, 2.107451632844472],
    "gaussian_nll_loss": [0.816548403175414, 12.24822604763121, 3.7591498330035362],
    "margin_ranking_loss": [0.22781778828669125, 3.4172668243003685, 0.3333333333333333],
    "cosine_embedding_loss": [0.0544591059088854, 0.1633773177266562, 0.1423568842377071],
    "triplet_margin_loss": [0.61741210719436, 1.8522363215830802, 0.6215429900865734],
    "triplet_margin_with_distance_loss": [0.61741210719436, 1.8522363215830802, 0.6215429900865734],
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    function = getattr(F, name.split()[0])
    x = scores()

    mean = function(x, *CASES[name]())
    mean.backward()
    total = function(x, *CASES[name](), reduction="sum")

    found = [mean.item(), total.item(), x.grad.abs().sum().item()]
    np.testing.assert_allclose(found, GOLDEN[name], rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_the_unreduced_loss_adds_up_to_the_sum(name):
    function = getattr(F, name.split()[0])
    x = scores()

    each = function(x, *CASES[name](), reduction="none")
    total = function(x, *CASES[name](), reduction="sum")

    assert each.dim() > 0
    np.testing.assert_allclose(each.sum().item(), total.item(), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_an_unknown_reduction_is_named(name):
    with pytest.raises(ValueError, match="mode is not"):
        getattr(F, name.split()[0])(scores(), *CASES[name](), reduction="mode")


@pytest.mark.parametrize(
    "name, node",
    [
        ("mse_loss", "MseLossBackward0"),
        ("l1_loss", "MeanBackward0"),
        ("smooth_l1_loss", "SmoothL1LossBackward0"),
        ("huber_loss", "HuberLossBackward0"),
        ("cross_entropy", "NllLossBackward0"),
        ("nll_loss", "NllLossBackward0"),
        ("soft_margin_loss", "SoftMarginLossBackward0"),
        ("binary_cross_entropy_with_logits", "BinaryCrossEntropyWithLogitsBackward0"),
        ("multi_margin_loss", "MultiMarginLossBackward0"),
    ],
)
def test_grad_fn_has_the_name_of_pytorch(name, node):
    assert getattr(F, name)(scores(), *CASES[name]()).grad_fn.name() == node


# ---------------------------------------------------------------- older arguments


@pytest.mark.parametrize(
    "size_average, reduce, meant",
    [(True, None, "mean"), (False, None, "sum"), (None, True, "mean"), (True, False, "none")],
)
def test_size_average_and_reduce_still_work_and_warn(size_average, reduce, meant):
    x, y = scores(), chances()
    with pytest.warns(UserWarning, match=f"please use reduction='{meant}' instead"):
        old = F.mse_loss(x, y, size_average, reduce)
    with pytest.warns(UserWarning, match=f"please use reduction='{meant}' instead"):
        layer = nn.MSELoss(size_average=size_average, reduce=reduce)

    assert torch.equal(old, F.mse_loss(x, y, reduction=meant))
    assert layer.reduction == meant


# ---------------------------------------------------------------- differences


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_other_shapes_broadcast_with_a_warning(name):
    x, y = scores(), wave(5)
    with pytest.warns(UserWarning, match="Using a target size .*different to the input size"):
        loss = getattr(F, name)(x, y)

    assert torch.equal(loss, getattr(F, name)(x, y.expand(3, 5)))


def test_mse_loss_of_shapes_that_do_not_broadcast_names_the_sizes():
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match=r"tensor a \(5\) must match"):
        warnings.simplefilter("ignore")
        F.mse_loss(scores(), wave(3, 4))


def test_mse_loss_of_integers_is_not_implemented():
    with pytest.raises(NotImplementedError, match="\"mse_cpu\" not implemented for 'Long'"):
        F.mse_loss(torch.tensor([1]), torch.tensor([2]))


def test_mse_loss_promotes_and_gives_each_its_gradient():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = torch.tensor([2.0, 4.0], dtype=torch.float64, requires_grad=True)
    loss = F.mse_loss(x, y)
    loss.backward()

    assert loss.dtype == torch.float64
    assert (x.grad.dtype, y.grad.dtype) == (torch.float32, torch.float64)
    assert x.grad.tolist() == [-1, -2] and y.grad.tolist() == [1, 2]


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_weights(name):
    x = torch.tensor([1.0, 2.0, 5.0])
    weight = torch.tensor([1.0, 3.0, 0.0])
    each = getattr(F, name)(x, torch.zeros(3), reduction="none")
    mean = getattr(F, name)(x, torch.zeros(3), weight=weight)

    # huber_loss alone divides by the number of elements, not by the sum of the weights.
    assert mean.item() == pytest.approx(
        ((each * weight).sum() / (3 if name == "huber_loss" else 4)).item()
    )
    with pytest.raises(ValueError, match="Weights and input must have the same size"):
        getattr(F, name)(x, torch.zeros(3), weight=weight[:1])


def test_smooth_l1_loss_with_beta_0_is_l1_loss():
    assert torch.equal(
        F.smooth_l1_loss(scores(), chances(), beta=0), F.l1_loss(scores(), chances())
    )
    with pytest.raises(RuntimeError, match="negative values for beta"):
        F.smooth_l1_loss(scores(), chances(), beta=-1)


def test_huber_loss_wants_a_positive_delta():
    with pytest.raises(RuntimeError, match="non-positive values for delta"):
        F.huber_loss(scores(), chances(), delta=0.0)


def test_the_losses_of_differences_bear_infinity():
    x = torch.tensor([inf], requires_grad=True)
    loss = F.smooth_l1_loss(x, torch.zeros(1))
    loss.backward()

    assert loss.item() == inf and x.grad.tolist() == [1]


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_the_mean_of_nothing_is_nan_and_the_sum_zero(name):
    x, y = torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 3)

    assert math.isnan(getattr(F, name)(x, y).item())
    assert getattr(F, name)(x, y, reduction="sum").item() == 0
    getattr(F, name)(x, y).backward()
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_summed_in_float32(dtype):
    x = torch.full((5000,), 1.0, dtype=dtype, requires_grad=True)
    loss = F.mse_loss(x, torch.zeros(5000, dtype=dtype), reduction="sum")
    mean = F.mse_loss(x, torch.zeros(5000, dtype=dtype))
    loss.backward()

    assert loss.dtype == dtype and abs(loss.item() - 5000) <= 16
    assert mean.item() == 1 and x.grad[0].item() == 2


# ---------------------------------------------------------------- classes


def test_cross_entropy_is_the_likelihood_of_the_log_softmax():
    x, target = scores(), torch.tensor(CLASSES)
    weight = torch.tensor([1.0, 0.5, 2, 1, 3], dtype=torch.float64)
    for options in ({}, {"weight": weight}, {"ignore_index": 4}, {"reduction": "none"}):
        one = F.cross_entropy(x, target, **options)
        other = F.nll_loss(F.log_softmax(x, 1), target, **options)

        np.testing.assert_allclose(one.tolist(), other.tolist(), rtol=1e-12)


def test_cross_entropy_of_large_scores_does_not_overflow():
    x = torch.tensor([[1000.0, 0.0], [0.0, -1000.0]], requires_grad=True)
    loss = F.cross_entropy(x, torch.tensor([1, 0]), reduction="none")
    loss.sum().backward()

    assert loss.tolist() == [1000, 0]
    assert x.grad.tolist() == [[1, -1], [0, 0]]


def test_cross_entropy_leaves_out_what_is_ignored():
    x = scores()
    loss = F.cross_entropy(x, torch.tensor([1, -100, 0]))
    loss.backward()

    assert loss.item() == pytest.approx(F.cross_entropy(x[::2], torch.tensor([1, 0])).item())
    assert x.grad[1].abs().sum().item() == 0
    assert math.isnan(F.cross_entropy(x, torch.full((3,), -100)).item())


def test_an_infinite_loss_that_is_ignored_does_not_make_nan():
    x = torch.tensor([[0.0, -inf], [0.0, 0.0]])

    assert F.nll_loss(x, torch.tensor([1, 0]), ignore_index=1, reduction="sum").item() == 0


def test_cross_entropy_takes_any_layout():
    x, target = scores(), torch.tensor(CLASSES)
    turned = x.detach().t().contiguous().t().requires_grad_()
    F.cross_entropy(turned, target).backward()
    F.cross_entropy(x, target).backward()

    np.testing.assert_allclose(turned.grad.tolist(), x.grad.tolist(), rtol=1e-12)


def test_cross_entropy_of_images_is_that_of_their_pixels():
    x = wave(2, 3, 4, 5).requires_grad_()
    target = torch.arange(40).reshape(2, 4, 5) % 3
    pixels = x.permute(0, 2, 3, 1).reshape(-1, 3)
    image = F.cross_entropy(x, target)

    assert image.grad_fn.name() == "NllLoss2DBackward0"
    assert image.item() == pytest.approx(F.cross_entropy(pixels, target.reshape(-1)).item())
    assert F.cross_entropy(x, target, reduction="none").shape == (2, 4, 5)
    assert gradcheck(lambda x: F.cross_entropy(x, target), [x])


def test_cross_entropy_without_a_batch():
    x = scores()[0]

    assert F.cross_entropy(x, torch.tensor(2), reduction="none").shape == ()
    assert F.cross_entropy(x, torch.tensor(2)) == F.cross_entropy(x[None], torch.tensor([2]))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_label_smoothing_spreads_a_part_over_all_classes(weighted, reduction):
    """With probabilities the same target can be written out."""
    x, target = scores(), torch.tensor(CLASSES)
    weight = torch.tensor([1.0, 0.5, 2, 1, 3], dtype=torch.float64) if weighted else None
    hot = F.one_hot(target, 5).double()

    one = F.cross_entropy(x, target, weight, reduction=reduction, label_smoothing=0.2)
    other = F.cross_entropy(x, hot, weight, reduction=reduction, label_smoothing=0.2)
    if weighted and reduction == "mean":  # of probabilities it is not the weighted mean
        other = other * 3 / weight[target].sum()

    np.testing.assert_allclose(one.tolist(), other.tolist(), rtol=1e-12)
    assert gradcheck(
        lambda x: F.cross_entropy(x, target, weight, reduction=reduction, label_smoothing=0.2), [x]
    )


def test_label_smoothing_must_be_a_part():
    with pytest.raises(RuntimeError, match=r"between 0.0 and 1.0. Got: 2"):
        F.cross_entropy(scores(), torch.tensor(CLASSES), label_smoothing=2.0)


@pytest.mark.parametrize(
    "shape, target, error, text",
    [
        ((3, 5), [1, 5, 0], IndexError, "Target 5 is out of bounds"),
        ((3, 5), [1, -1, 0], IndexError, "Target -1 is out of bounds"),
        ((3, 5), [1, 0], ValueError, r"batch_size \(3\) to match target batch_size \(2\)"),
        ((3, 5), [[1], [2], [0]], RuntimeError, "multi-target not supported"),
        ((5,), [1, 2], ValueError, "1D target must have size 1, but got target size: 2"),
        ((1, 5, 2), [[1]], RuntimeError, r"Expected target size \[1, 2\], got \[1, 1\]"),
        ((3, 5), [1.0, 2.0, 0.0], RuntimeError, "target dtype to be Long or Byte, but got Float"),
    ],
)
def test_class_indices_that_do_not_fit(shape, target, error, text):
    for function in (F.cross_entropy, F.nll_loss):
        with pytest.raises(error, match=text):
            function(torch.zeros(shape), torch.tensor(target))


def test_class_weights_that_do_not_fit():
    x, target = torch.zeros(3, 5), torch.tensor(CLASSES)
    with pytest.raises(RuntimeError, match=r"for all 5 classes .* of shape: \[4\]"):
        F.cross_entropy(x, target, torch.ones(4))
    with pytest.raises(RuntimeError, match="expected scalar type Float but found Double"):
        F.cross_entropy(x, target, torch.ones(5).double())
    with pytest.raises(RuntimeError, match="not differentiable with respect to argument 'weight'"):
        F.nll_loss(x, target, torch.ones(5, requires_grad=True))


# ---------------------------------------------------------------- probabilities


def test_binary_cross_entropy_keeps_a_sure_mistake_finite():
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(x, torch.tensor([1.0, 1.0]), reduction="none")
    loss.sum().backward()

    assert loss.tolist() == [100, 0]
    assert x.grad[0].item() == pytest.approx(-1e12) and x.grad[1].item() == 0


@pytest.mark.parametrize("bad", [-0.1, 1.1, nan])
def test_binary_cross_entropy_wants_probabilities(bad):
    with pytest.raises(RuntimeError, match="all elements of input should be between 0 and 1"):
        F.binary_cross_entropy(torch.tensor([bad]), torch.tensor([1.0]))


def test_binary_losses_do_not_broadcast():
    for function in (F.binary_cross_entropy, F.binary_cross_entropy_with_logits):
        with pytest.raises(ValueError, match=r"arget size \(torch.Size\(\[1\]\)\)"):
            function(torch.zeros(2), torch.zeros(1))


def test_binary_cross_entropy_with_logits_is_exact_for_large_scores():
    x = torch.tensor([-200.0, 200.0], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, torch.tensor([1.0, 1.0]), reduction="none")
    loss.sum().backward()

    assert loss.tolist() == [200, 0] and x.grad.tolist() == [-1, 0]


def test_pos_weight_counts_the_positive_half():
    x, y = scores(), chances()
    weight = torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64)
    expected = -(weight * y * F.logsigmoid(x) + (1 - y) * F.logsigmoid(-x)).mean()

    loss = F.binary_cross_entropy_with_logits(x, y, pos_weight=weight)

    assert loss.item() == pytest.approx(expected.item())


def test_kl_div_reductions():
    x, y = F.log_softmax(scores(), 1), chances(1.0).softmax(1)
    total = (y * (y.log() - x)).sum().item()

    with pytest.warns(UserWarning, match="'batchmean' divides only by the batch size"):
        assert F.kl_div(x, y).item() == pytest.approx(total / 15)
    assert F.kl_div(x, y, reduction="batchmean").item() == pytest.approx(total / 3)
    assert F.kl_div(x, y.log(), reduction="sum", log_target=True).item() == pytest.approx(total)
    with pytest.raises(RuntimeError, match="Integral inputs not supported"):
        F.kl_div(x, torch.tensor(CLASSES), reduction="sum")


def test_a_target_of_probability_0_costs_nothing():
    x = F.log_softmax(torch.zeros(2), 0)

    assert F.kl_div(x, torch.tensor([0.0, 1.0]), reduction="none").tolist() == [
        0,
        pytest.approx(math.log(2)),
    ]


def test_gaussian_nll_loss_checks_the_variance():
    x, y = scores(), chances()
    with pytest.raises(ValueError, match="var has negative entry/entries"):
        F.gaussian_nll_loss(x, y, -chances() - 1)
    with pytest.raises(ValueError, match="var is of incorrect size"):
        F.gaussian_nll_loss(x, y, chances()[0])
    assert F.gaussian_nll_loss(x, y, 1.0) == F.gaussian_nll_loss(x, y, torch.ones(3).double())


def test_poisson_nll_loss_of_counts():
    rate, count = torch.tensor([2.0]), torch.tensor([3.0])
    stirling = 3 * math.log(3) - 3 + 0.5 * math.log(2 * math.pi * 3)

    plain = F.poisson_nll_loss(rate, count, log_input=False, eps=0)
    full = F.poisson_nll_loss(rate, count, log_input=False, full=True, eps=0)

    assert plain.item() == pytest.approx(2 - 3 * math.log(2))
    assert full.item() == pytest.approx(2 - 3 * math.log(2) + stirling, rel=1e-6)


# ---------------------------------------------------------------- margins


def test_multi_margin_loss_arguments():
    x, target = torch.zeros(3, 5), torch.tensor(CLASSES)
    with pytest.raises(ValueError, match="only p == 1 and p == 2 supported"):
        F.multi_margin_loss(x, target, p=3)
    with pytest.raises(RuntimeError, match="target out of range"):
        F.multi_margin_loss(x, target + 5)
    with pytest.raises(RuntimeError, match="inconsistent weight size, expected 5 but got"):
        F.multi_margin_loss(x, target, weight=torch.ones(4))


def test_multilabel_margin_loss_reads_up_to_the_first_minus_one():
    x = torch.tensor([[0.1, 0.2, 0.4, 0.8]])
    first = F.multilabel_margin_loss(x, torch.tensor([[3, 0, -1, 1]]))

    # The example of PyTorch's documentation.
    assert first.item() == pytest.approx(0.85)
    assert F.multilabel_margin_loss(x, torch.tensor([[-1, 0, 1, 2]])).item() == 0
    with pytest.raises(RuntimeError, match="is out of range"):
        F.multilabel_margin_loss(x, torch.tensor([[4, -1, 0, 0]]))


def test_triplet_losses():
    anchor, near, far = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 5.0]])
    plain = F.triplet_margin_loss(anchor, near, far, eps=0)
    swapped = F.triplet_margin_loss(anchor, near, far, eps=0, swap=True)

    assert plain.item() == pytest.approx(1 + 5 - math.sqrt(34), rel=1e-5)
    assert swapped.item() == pytest.approx(1 + 5 - 1)
    with pytest.raises(RuntimeError, match="anchor 2D, positive 2D, and negative 1D"):
        F.triplet_margin_loss(anchor, near, far[0])
    with pytest.raises(ValueError, match="margin must be greater than 0, got 0"):
        F.triplet_margin_loss(anchor, near, far, margin=0)


def test_triplet_loss_with_any_distance():
    layer = nn.TripletMarginWithDistanceLoss(
        distance_function=lambda x, y: (x - y).abs().amax(-1), margin=2.0
    )

    assert layer(torch.zeros(1, 2), torch.ones(1, 2), torch.full((1, 2), 2.5)).item() == 0.5


def test_margin_ranking_loss_wants_as_many_dimensions():
    with pytest.raises(RuntimeError, match="All input tensors should have same dimension"):
        F.margin_ranking_loss(torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(3))


def test_torch_has_losses_with_numbered_reductions():
    x, y = scores(), torch.tensor(SIGNS)

    assert torch.hinge_embedding_loss(x, y).shape == (3, 5)
    assert torch.hinge_embedding_loss(x, y, reduction=1) == F.hinge_embedding_loss(x, y)


# ---------------------------------------------------------------- ctc


def alignments(probabilities, target, blank=0):
    """Probability of the target, summed over every path there is."""
    import itertools

    total = 0.0
    for path in itertools.product(range(probabilities.shape[1]), repeat=len(probabilities)):
        merged = [label for label, _ in itertools.groupby(path)]
        if [label for label in merged if label != blank] == target:
            total += math.prod(row[label] for row, label in zip(probabilities, path, strict=True))
    return total


@pytest.mark.parametrize("target", [[], [1], [1, 2], [1, 1], [2, 1, 2]])
def test_ctc_loss_sums_over_all_alignments(target):
    log_probs = F.log_softmax(wave(5, 1, 3) * 2, 2)
    expected = -math.log(alignments(np.exp(np.array(log_probs.tolist()))[:, 0], target))

    loss = F.ctc_loss(
        log_probs,
        torch.tensor([target], dtype=torch.long).reshape(1, -1),
        [5],
        [len(target)],
        reduction="none",
    )

    np.testing.assert_allclose(loss.tolist(), [expected], rtol=1e-12)


def test_ctc_loss_differentiates_through_the_softmax():
    x = (wave(5, 2, 4) * 2).requires_grad_()
    target = torch.tensor([[1, 2, 3], [1, 1, 0]])
    for reduction in ("mean", "sum", "none"):
        assert gradcheck(
            lambda x, reduction=reduction: F.ctc_loss(
                F.log_softmax(x, 2), target, [5, 4], [3, 2], reduction=reduction
            ),
            [x],
        )


def test_ctc_loss_of_what_is_impossible():
    x = wave(2, 2, 4).log_softmax(2).requires_grad_()
    target = torch.tensor([[1, 2, 3], [1, 2, 0]])
    loss = F.ctc_loss(x, target, [2, 2], [3, 2], reduction="none")
    kept = F.ctc_loss(x, target, [2, 2], [3, 2], reduction="none", zero_infinity=True)
    kept.sum().backward()

    assert loss[0].item() == inf and kept[0].item() == 0 and kept[1] == loss[1]
    assert x.grad[:, 0].abs().sum().item() == 0 and x.grad[:, 1].abs().sum().item() > 0


def test_ctc_loss_takes_targets_joined_or_padded():
    x = wave(5, 2, 4).log_softmax(2)
    padded = F.ctc_loss(x, torch.tensor([[1, 2, 3], [1, 1, 0]]), (5, 5), (3, 2))
    joined = F.ctc_loss(
        x, torch.tensor([1, 2, 3, 1, 1]), torch.tensor([5, 5]), torch.tensor([3, 2])
    )

    assert padded == joined
    assert F.ctc_loss(x[:, 0], torch.tensor([1, 2, 3]), (5,), (3,)).shape == ()


@pytest.mark.parametrize(
    "change, text",
    [
        ({"blank": 4}, "blank must be in label range"),
        ({"input_lengths": [6, 5]}, "input_lengths to have value at most 5, but got value 6"),
        ({"input_lengths": [5]}, "input_lengths must be of size batch_size"),
        ({"target_lengths": [4, 2]}, "size at least 4 at dimension 1, but got size 3"),
        ({"target_lengths": torch.tensor([3.0, 2.0])}, "target_lengths must be integral"),
        ({"targets": torch.tensor([1, 2, 3, 1])}, "size 5 at dimension 0, but got size 4"),
    ],
)
def test_ctc_loss_of_sizes_that_do_not_fit(change, text):
    arguments = {
        "log_probs": wave(5, 2, 4),
        "targets": torch.tensor([[1, 2, 3], [1, 1, 2]]),
        "input_lengths": [5, 5],
        "target_lengths": [3, 2],
    }
    with pytest.raises(RuntimeError, match=text):
        F.ctc_loss(**arguments | change)


def test_ctc_loss_has_no_second_derivative():
    x = wave(5, 1, 4).requires_grad_()
    loss = F.ctc_loss(x, torch.tensor([[1]]), [5], [1])
    with pytest.raises(NotImplementedError, match="_ctc_loss_backward is not implemented"):
        torch.autograd.grad(loss, x, create_graph=True)


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize(
    "layer, name",
    [
        (nn.L1Loss, "l1_loss"),
        (nn.MSELoss, "mse_loss"),
        (nn.SmoothL1Loss, "smooth_l1_loss"),
        (nn.HuberLoss, "huber_loss"),
        (nn.CrossEntropyLoss, "cross_entropy"),
        (nn.NLLLoss, "nll_loss"),
        (nn.BCEWithLogitsLoss, "binary_cross_entropy_with_logits"),
        (nn.SoftMarginLoss, "soft_margin_loss"),
        (nn.HingeEmbeddingLoss, "hinge_embedding_loss"),
        (nn.MultiMarginLoss, "multi_margin_loss"),
        (nn.MultiLabelMarginLoss, "multilabel_margin_loss"),
        (nn.MultiLabelSoftMarginLoss, "multilabel_soft_margin_loss"),
        (nn.PoissonNLLLoss, "poisson_nll_loss"),
        (nn.GaussianNLLLoss, "gaussian_nll_loss"),
        (nn.MarginRankingLoss, "margin_ranking_loss"),
        (nn.CosineEmbeddingLoss, "cosine_embedding_loss"),
        (nn.TripletMarginLoss, "triplet_margin_loss"),
        (nn.TripletMarginWithDistanceLoss, "triplet_margin_with_distance_loss"),
    ],
)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_layers_call_their_functions(layer, name, reduction):
    given = [scores(), *CASES[name]()]

    assert torch.equal(
        layer(reduction=reduction)(*given), getattr(F, name)(*given, reduction=reduction)
    )


def test_class_weights_are_buffers_and_move_with_the_layer():
    layer = nn.CrossEntropyLoss(torch.ones(3), label_smoothing=0.1).double()

    assert list(layer.state_dict()) == ["weight"] and layer.weight.dtype == torch.float64
    assert repr(layer) == "CrossEntropyLoss()"


def test_layers_check_their_options():
    with pytest.raises(TypeError, match="delta must be a float or int"):
        nn.HuberLoss(delta="1")
    with pytest.raises(ValueError, match="TripletMarginLoss: expected margin to be greater than 0"):
        nn.TripletMarginLoss(margin=-1)
    with pytest.raises(ValueError, match="expected weight to be None or 1D tensor, got 2D"):
        nn.MultiMarginLoss(weight=torch.ones(2, 2))
    with pytest.warns(FutureWarning, match="`NLLLoss2d` has been deprecated"):
        nn.NLLLoss2d()


# ---------------------------------------------------------------- adaptive softmax


def test_the_adaptive_softmax_is_a_distribution_over_all_classes():
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 8], div_value=2.0)
    x, target = torch.randn(6, 8), torch.tensor([0, 3, 4, 7, 8, 11])

    every = layer.log_prob(x)
    output, loss = layer(x, target)

    np.testing.assert_allclose(every.exp().sum(1).tolist(), [1] * 6, rtol=1e-5)
    np.testing.assert_allclose(
        output.tolist(), every.gather(1, target[:, None])[:, 0].tolist(), rtol=1e-5
    )
    assert loss.item() == pytest.approx(-output.mean().item())
    assert layer.predict(x).tolist() == every.argmax(1).tolist()


def test_every_cluster_of_the_adaptive_softmax_learns():
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 8], div_value=2.0)
    layer(torch.randn(4, 8), torch.tensor([0, 5, 9, 1])).loss.backward()

    assert all(p.grad.abs().sum().item() > 0 for p in layer.parameters())


def test_the_adaptive_softmax_checks_cutoffs_and_targets():
    with pytest.raises(ValueError, match="unique, positive integers sorted"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 12, [8, 4])
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 8], div_value=2.0)
    with pytest.raises(
        RuntimeError, match=r"should be in \[0, 11\], but values in range \[0, 12\]"
    ):
        layer(torch.randn(2, 8), torch.tensor([0, 12]))
    assert layer(torch.randn(8), torch.tensor(3)).output.shape == ()
