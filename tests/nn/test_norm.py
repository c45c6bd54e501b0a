"""Normalization: values, running statistics, gradients with kept moments, dtypes and errors.

The samples of test_every_op.py let the ops compute their moments; here the public functions hand
them over, as programs do.
"""

from __future__ import annotations

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn
from taper.autograd.gradcheck import gradcheck, gradgradcheck

X = torch.arange(12, dtype=torch.float64).reshape(2, 3, 2) ** 1.5


def close(tensor, expected):
    np.testing.assert_allclose(tensor.detach().flatten().tolist(), expected, rtol=1e-6, atol=1e-9)


def statistics(channels=3):
    return torch.zeros(channels, dtype=torch.float64), torch.ones(channels, dtype=torch.float64)


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


# ---------------------------------------------------------------- values, by PyTorch 2.13


def test_batch_norm_normalizes_and_moves_the_running_statistics():
    mean, var = statistics()

    y = F.batch_norm(X, mean, var, training=True, momentum=0.25)

    close(y[0], [-1.0464495725, -0.924119324, -1.0982464248, -0.8737801398, -1.1144112587,
                 -0.8579841509])  # fmt: skip
    close(mean, [2.1385748521, 3.6032497841, 5.4553743239])
    close(var, [23.0246538764, 37.8384852985, 52.0240852569])


def test_instance_norm_moves_the_statistics_to_the_mean_over_the_batch():
    mean, var = statistics()

    F.instance_norm(X, mean, var, momentum=0.25)

    close(mean, [2.1385748521, 3.6032497841, 5.4553743239])
    close(var, [1.7261113334, 2.2953503248, 2.8584434891])


def test_group_norm_takes_the_channels_of_a_group_together():
    y = F.group_norm(X.reshape(1, 6, 2), 2)

    close(y[0, :3], [-1.1977903031, -0.9429857526, -0.477094201, 0.1262129793, 0.8406461009,
                     1.6510111765])  # fmt: skip


def test_rms_norm_divides_by_the_root_of_the_mean_square():
    y = F.rms_norm(X[0], (2,))

    close(y, [0, 1.4142135624, 0.6761234038, 1.2421180068, 0.8229511998, 1.1501092656])


def test_local_response_norm_averages_over_neighbouring_channels():
    y = F.local_response_norm(X, 2, alpha=0.5)

    close(y[0], [0, 0.8458970108, 1.2408064788, 1.0923564863, 0.8790726863, 0.7164016068])


def test_normalize_leaves_zero_alone():
    y = F.normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))

    close(y, [0.6, 0.8, 0, 0])


def test_evaluation_uses_the_running_statistics_and_leaves_them_alone():
    mean, var = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0])

    y = F.batch_norm(torch.tensor([[3.0, 5.0]]), mean, var, eps=0.0)

    assert y.tolist() == [[1.0, 1.0]]
    assert mean.tolist() == [1, 2] and var.tolist() == [4, 9]


def test_a_mean_far_from_zero_costs_no_accuracy_in_the_variance():
    """The variance is that of the centred values; sum of squares minus square of sums is not."""
    x = torch.randn(64, 2, 50) + 1000.0

    y = F.batch_norm(x, None, None, training=True)

    assert abs(float(y.var()) - 1) < 0.01
    assert abs(float(F.layer_norm(x, (50,))[0, 0].var(correction=0)) - 1) < 0.01


# ---------------------------------------------------------------- gradients

CASES = {
    "batch_norm": lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
    "batch_norm in evaluation": lambda x, w, b: F.batch_norm(x, *statistics(4), w, b),
    "instance_norm": lambda x, w, b: F.instance_norm(x, None, None, w, b),
    "instance_norm in evaluation": lambda x, w, b: F.instance_norm(
        x, *statistics(4), w, b, use_input_stats=False
    ),
    "group_norm": lambda x, w, b: F.group_norm(x, 2, w, b),
    "layer_norm": lambda x, w, b: F.layer_norm(x.transpose(1, 2), (4,), w, b),
    "rms_norm": lambda x, w, b: F.rms_norm(x.transpose(1, 2), (4,), w, 1e-3),
}


@pytest.mark.parametrize("name", CASES)
def test_first_and_second_derivatives_agree_with_differences(name):
    torch.manual_seed(0)
    function = CASES[name]
    given = [drawn(2, 4, 3), drawn(4), drawn(4)]

    assert gradcheck(function, given)
    assert gradgradcheck(function, given)
    assert gradcheck(lambda x: function(x, None, None), given[:1])


@pytest.mark.parametrize("name", CASES)
def test_the_kept_moments_give_the_gradients_of_the_recorded_derivative(name):
    torch.manual_seed(0)
    given = [drawn(2, 4, 3), drawn(4), drawn(4)]
    y = CASES[name](*given)
    grad = torch.randn_like(y)

    lean = torch.autograd.grad(y, given, grad, retain_graph=True, allow_unused=True)
    recorded = torch.autograd.grad(y, given, grad, create_graph=True, allow_unused=True)

    for one, other in zip(lean, recorded, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            close(one, other.detach().flatten().tolist())


def test_the_result_may_be_overwritten_as_by_an_in_place_relu():
    x = drawn(4, 3)

    F.relu(F.batch_norm(x, None, None, training=True), inplace=True).sum().backward()

    assert x.grad is not None


def test_statistics_that_change_after_an_evaluation_do_not_change_its_gradient():
    bn = nn.BatchNorm1d(3).eval()
    x = torch.ones(2, 3, requires_grad=True)
    y = bn(x)

    bn.train()(torch.randn(4, 3))
    y.sum().backward()

    close(x.grad, [1 / (1 + 1e-5) ** 0.5] * 6)


def test_what_is_kept_for_the_derivative_goes_with_it():
    x = drawn(4, 3)
    y = F.layer_norm(x, (3,))

    y.sum().backward()

    assert not y.grad_fn.attrs


def test_a_channels_last_image_stays_channels_last():
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()

    y = F.batch_norm(x, None, None, training=True)

    assert y.is_contiguous(memory_format=torch.channels_last)
    plain = F.batch_norm(x.detach().contiguous(), None, None, training=True)
    np.testing.assert_allclose(y.tolist(), plain.tolist(), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- empty and dtypes


@pytest.mark.parametrize("shape", [(0, 4), (2, 4, 0), (0, 4, 3, 3)])
def test_empty_inputs_leave_the_statistics_and_give_zero_gradients(shape):
    mean, var = torch.zeros(4), torch.ones(4)
    weight = torch.ones(4, requires_grad=True)

    y = F.batch_norm(torch.zeros(shape), mean, var, weight, training=True)
    y.sum().backward()

    assert y.shape == shape
    assert mean.tolist() == [0] * 4 and var.tolist() == [1] * 4
    assert weight.grad.tolist() == [0] * 4


def test_layer_and_group_norm_take_empty_inputs():
    assert F.layer_norm(torch.zeros(0, 3), (3,)).shape == (0, 3)
    assert F.layer_norm(torch.zeros(3, 0), (0,)).shape == (3, 0)
    assert F.group_norm(torch.zeros(0, 4, 2), 2).shape == (0, 4, 2)
    assert F.rms_norm(torch.zeros(0, 3), (3,)).shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_float32_and_may_have_float32_parameters(dtype):
    x = torch.randn(4, 6)
    parameters = [torch.randn(6, requires_grad=True), torch.randn(6, requires_grad=True)]
    half = x.to(dtype)
    for function in (
        lambda t: F.batch_norm(t, torch.zeros(6), torch.ones(6), *parameters, True),
        lambda t: F.layer_norm(t, (6,), *parameters),
        lambda t: F.group_norm(t, 2, *parameters),
    ):
        y = function(half)
        y.sum().backward()

        assert y.dtype is dtype
        assert parameters[0].grad.dtype is parameters[1].grad.dtype is torch.float32
        np.testing.assert_allclose(
            y.float().tolist(), function(half.float()).tolist(), rtol=0.01, atol=0.01
        )


def test_a_bias_alone_has_a_gradient_of_its_own_dtype():
    bias = torch.zeros(3, requires_grad=True)

    F.layer_norm(torch.randn(2, 3).half(), (3,), None, bias).sum().backward()

    assert bias.grad.dtype is torch.float32 and bias.grad.tolist() == [2, 2, 2]


def test_rms_norm_takes_the_epsilon_of_the_dtype_it_computes_in():
    x = torch.tensor([[1e-4, 2e-4]])

    close(F.rms_norm(x.half(), (2,)).float(), [0.2634277, 0.5268555])
    close(F.rms_norm(x.double(), (2,)), F.rms_norm(x.double(), (2,), eps=2.0**-52).tolist()[0])


def test_nan_stays_in_its_channel():
    x = torch.randn(4, 2)
    x[0, 0] = float("nan")

    y = F.batch_norm(x, None, None, training=True)

    assert y[:, 0].isnan().all() and not y[:, 1].isnan().any()


@pytest.mark.parametrize("name", CASES)
def test_infinities_give_nan_without_a_warning(name):
    """numpy warns of inf - inf; warnings are errors in these tests."""
    x = torch.full((2, 4, 3), float("inf"), dtype=torch.float64)

    y = CASES[name](x, None, None)

    assert not y.isfinite().any()


# ---------------------------------------------------------------- torch's own names


def test_the_native_functions_give_the_moments_too():
    x = torch.randn(2, 4, 3)

    y, mean, scale = torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)
    close(y, F.batch_norm(x, None, None, training=True).flatten().tolist())
    close(mean, x.mean((0, 2)).tolist())
    close(scale, (x.var((0, 2), correction=0) + 1e-5).rsqrt().tolist())
    _, mean, scale = torch.native_layer_norm(x, (3,), None, None, 1e-5)
    assert mean.shape == scale.shape == (2, 4, 1)
    _, mean, scale = torch.native_group_norm(x, None, None, 2, 4, 3, 2, 1e-5)
    assert mean.shape == scale.shape == (2, 2)


def test_the_torch_functions_take_their_own_order_of_arguments():
    x, w, b = torch.randn(2, 4, 3), torch.randn(4), torch.randn(4)
    mean, var = torch.zeros(4), torch.ones(4)

    one = torch.batch_norm(x, w, b, mean, var, False, 0.1, 1e-5, False)
    other = torch.instance_norm(x, w, b, None, None, True, 0.1, 1e-5, False)

    assert one.tolist() == F.batch_norm(x, mean, var, w, b).tolist()
    assert other.tolist() == F.instance_norm(x, weight=w, bias=b).tolist()
    assert torch.layer_norm(x, (3,)).tolist() == F.layer_norm(x, (3,)).tolist()
    assert torch.group_norm(x, 2).tolist() == F.group_norm(x, 2).tolist()


def test_batch_norms_can_be_freed_of_their_statistics():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(3)))

    assert torch.func.replace_all_batch_norm_modules_(model) is model

    assert not dict(model.named_buffers())
    x = torch.randn(4, 3)
    close(model.eval()[0](x), F.batch_norm(x, None, None, training=True).flatten().tolist())


def test_grad_fn_is_named_as_in_pytorch():
    x = torch.randn(2, 4, 3, requires_grad=True)

    names = [
        y.grad_fn.name()
        for y in (
            F.batch_norm(x, None, None, training=True),
            F.layer_norm(x, (3,)),
            F.group_norm(x, 2),
        )
    ]

    assert names == [
        "NativeBatchNormBackward0",
        "NativeLayerNormBackward0",
        "NativeGroupNormBackward0",
    ]


# ---------------------------------------------------------------- errors

x4 = torch.ones(2, 4, 3)
m4, v4 = torch.zeros(4), torch.ones(4)
ERRORS = [
    (RuntimeError, "running_mean should contain 4 elements not 3",
     lambda: F.batch_norm(x4, torch.zeros(3), v4)),
    (RuntimeError, "weight should contain 4 elements not 2",
     lambda: F.batch_norm(x4, m4, v4, torch.ones(2))),
    (RuntimeError, "running_mean must be defined in evaluation mode",
     lambda: F.batch_norm(x4, None, None)),
    (ValueError, "must either both be None or neither be None",
     lambda: F.batch_norm(x4, m4, None)),
    (ValueError, r"Expected more than 1 value per channel when training, got input size "
     r"torch.Size\(\[1, 4\]\)", lambda: F.batch_norm(x4[:1, :, 0], m4, v4, training=True)),
    (ValueError, "eps must be positive during training",
     lambda: F.batch_norm(x4, m4, v4, training=True, eps=-1.0)),
    (TypeError, "argument 'momentum'",
     lambda: F.batch_norm(x4, m4, v4, training=True, momentum=None)),
    (RuntimeError, "is not differentiable with respect to argument 'running_mean'",
     lambda: F.batch_norm(x4, torch.zeros(4, requires_grad=True), v4)),
    (NotImplementedError, "\"batch_norm\" not implemented for 'Long'",
     lambda: F.batch_norm(x4.long(), m4, v4)),
    (RuntimeError, "mixed dtype", lambda: F.batch_norm(x4, m4, v4, torch.ones(4).double())),
    (RuntimeError, "expected scalar type Float but found Double",
     lambda: F.batch_norm(x4, m4.double(), v4.double())),
    (RuntimeError, "divisible by num_groups", lambda: F.group_norm(x4, 3)),
    (RuntimeError, "num groups to be greater than 0", lambda: F.group_norm(x4, -1)),
    (RuntimeError, "Expected at least 2 dimensions", lambda: F.group_norm(torch.ones(4), 2)),
    (RuntimeError, "weight to be a vector of size equal to the number of channels",
     lambda: F.group_norm(x4, 2, torch.ones(3))),
    (ValueError, "Expected more than 1 value per channel",
     lambda: F.group_norm(x4[:1, :, 0], 4)),
    (RuntimeError, r"Given normalized_shape=\[4\], expected input with shape \[\*, 4\], but got "
     r"input of size\[2, 4, 3\]", lambda: F.layer_norm(x4, (4,))),
    (RuntimeError, "at least 1-dimensional", lambda: F.layer_norm(x4, ())),
    (TypeError, "must be tuple of ints", lambda: F.layer_norm(x4, 3)),
    (RuntimeError, "Expected bias to be of same shape as normalized_shape",
     lambda: F.layer_norm(x4, (3,), None, torch.ones(2))),
    (NotImplementedError, "LayerNormKernelImpl", lambda: F.layer_norm(x4.long(), (3,))),
    (NotImplementedError, "rms_norm", lambda: F.rms_norm(x4.long(), (3,))),
    (ValueError, "more than 1 spatial element", lambda: F.instance_norm(x4[:, :, :1])),
    (RuntimeError, "to be defined when use_input_stats is false",
     lambda: F.instance_norm(x4, use_input_stats=False)),
    (RuntimeError, "running_mean should contain 8 elements not 6",
     lambda: F.instance_norm(x4, torch.zeros(3), torch.zeros(3))),
    (ValueError, "Expected 3D or higher", lambda: F.local_response_norm(x4[0], 2)),
    (RuntimeError, "floating point or complex", lambda: F.normalize(x4.long())),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "words", "call"), ERRORS, ids=[e[1][:40] for e in ERRORS])
def test_mistakes_are_told_in_pytorchs_words(kind, words, call):
    with pytest.raises(kind, match=words):
        call()
