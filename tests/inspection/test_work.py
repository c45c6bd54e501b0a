"""How operations and bytes are counted."""

from __future__ import annotations

import numpy as np
import pytest

from taper.backends.llvm.pointwise import trace
from taper.inspection import work
from taper.inspection.code import busiest_block, hottest, inner_loops
from taper.inspection.peaks import Level, Peaks, best


def test_bytes_are_counted_once_and_repetitions_not_at_all():
    x = np.zeros((4, 5), np.float32)

    assert work.moved([x, x]) == 80
    assert work.moved([x, (x.copy(), {"k": x[:2]})]) == 80 + 80 + 40
    assert work.moved([np.broadcast_to(x[:1], (9, 5))]) == 20
    assert work.moved([np.zeros((0, 3))]) == 0


def test_a_program_counts_each_step_and_a_polynomial_what_it_takes():
    program = trace(lambda m, x, y: m.exp(x * y) + 1, "ff")

    assert work.per_element(program) == 2 + work.cost("exp", "f")
    assert work.cost("sqrt", "f") == 1
    assert work.cost("exp", "d") > work.cost("exp", "f") > 10


def test_an_addition_of_arrays_is_one_operation_an_element():
    x = np.ones((3, 4))

    assert work.of_function("add", (x, x), {}, x + x).operations == 12
    assert work.of_function("sum", (x,), {}, np.float64(12)).operations == 11
    assert work.of_function("concatenate", ([x, x],), {}, np.ones((6, 4))).operations == 0


@pytest.mark.parametrize("needs, products", [((True, True, False), 2), ((False, True, False), 1)])
def test_a_convolutions_gradients_count_those_that_are_needed(needs, products):
    x, w, grad = np.ones((2, 3, 8, 8)), np.ones((4, 3, 3, 3)), np.ones((2, 4, 6, 6))
    geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}

    made = work.of_function("convolution_gradients", (x, w, grad, needs), geometry, (x, w, None))

    assert made.operations == products * 2 * grad.size * 27


def test_what_has_no_rule_is_not_known():
    x = np.ones((3, 3))

    assert work.of_function("digamma", (x,), {}, x).operations is None


def test_a_size_lies_in_the_smallest_level_that_holds_it():
    levels = (Level("L1", 100, 3.0), Level("L2", 1000, 2.0), Level("memory", 1 << 62, 1.0))
    peaks = Peaks(1, 1.0, 1.0, levels)

    assert [peaks.level(n).name for n in (1, 100, 101, 1001)] == ["L1", "L1", "L2", "memory"]


def test_the_inner_loop_with_the_most_arithmetic_is_found():
    text = "\n".join(
        [
            "kernel:",
            ".LBB0_1:",
            ".LBB0_2:",
            "        vmulps  %zmm0, %zmm1, %zmm2",
            "        jne     .LBB0_2",
            ".LBB0_3:",
            "        vfmadd231ps     %zmm0, %zmm1, %zmm2",
            "        vaddps  %zmm0, %zmm1, %zmm2",
            "        jb      .LBB0_3",
            "        jne     .LBB0_1",
            "        retq",
        ]
    )

    assert len(inner_loops(text)) == 2
    assert hottest(text)[0] == ".LBB0_3:"
    assert hottest("kernel:\n        retq") == []


def test_the_block_of_ir_with_the_most_arithmetic_comes_with_its_function():
    text = "\n".join(
        [
            "declare float @llvm.fma.f32(float, float, float)",
            "define void @other(ptr %x) {",
            "entry:",
            "  ret void",
            "}",
            "define void @kernel(ptr %x) {",
            "entry:",
            "  br label %body",
            "body:",
            "  %v1 = fadd float %a, %b",
            "  br label %body",
            "}",
        ]
    )

    assert busiest_block(text)[:3] == ["define void @kernel(ptr %x) {", "  ...", "body:"]
    assert busiest_block(text, "other")[2:] == ["entry:", "  ret void"]
    assert busiest_block("") == []


def test_the_best_time_is_that_of_one_run():
    count = 0

    def run():
        nonlocal count
        count += 1

    assert 0 < best(run, 0.002) < 1e-3
    assert count > 10
