"""Recorded random numbers of PyTorch 2.13, and the calls of taper that must repeat them.

tests/golden/random.json has a case per call: the seed, the call, the result's bits (a hash and the
ends where there are many), the 63-bit integer that is drawn next, and the normal number that waits
in the generator.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import taper as torch
from taper import nn
from taper.nn import functional

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "golden" / "random.json").read_text()
)["cases"]

WEIGHTS = [0.5, 0.25, 3.0, 0.0, 1.5, 2.25, 0.125, 1.0]
RATES = [0.0, 0.5, 3.0, 9.99, 10.0, 45.0, 1000.0]
COUNTS = [0, 1, 5, 20, 100, 1000] * 3
Dtype = torch.dtype


def empty(n: int, dtype: Dtype) -> torch.Tensor:
    return torch.empty(n, dtype=dtype)


def spread(n: int, dtype: Dtype) -> torch.Tensor:
    return torch.tensor(np.linspace(-2, 3, n)).to(dtype)


def _view(fn: str, shape: list[int], strides: list[int]) -> torch.Tensor:
    x = torch.empty(500).as_strided(shape, strides)
    return x.bernoulli_(0.4) if fn == "bernoulli_" else getattr(x, fn)()


def _module(make: str) -> torch.Tensor:
    made = eval("nn." + make, {"nn": nn})
    return torch.cat([p.detach().flatten() for p in made.parameters()])


def _sequence() -> torch.Tensor:
    """Calls of which some leave a normal number behind and some begin with it."""
    return torch.cat(
        [
            torch.randn(3),
            torch.rand(2),
            torch.randn(2),
            torch.randperm(5).float(),
            torch.randn(20),
            torch.empty(1).exponential_(),
            torch.randn(1),
            functional.dropout(torch.ones(4)),
        ]
    )


def _state(after: int, randn: int) -> torch.Tensor:
    torch.empty(after, dtype=torch.int32).random_()
    torch.randn(randn)
    return torch.get_rng_state()


def _binomial(dtype: Dtype) -> torch.Tensor:
    chances = torch.tensor(np.repeat([0.1, 0.5, 0.9], 6)).to(dtype)
    return torch.binomial(torch.tensor(COUNTS, dtype=dtype), chances)


# The call of a case: it takes the dtype first, then the case's arguments by name.
CALLS: dict[str, Callable[..., torch.Tensor]] = {
    "rand": lambda dtype, n: torch.rand(n, dtype=dtype),
    "randn": lambda dtype, n: torch.randn(n, dtype=dtype),
    "uniform_": lambda dtype, n, lo, hi: empty(n, dtype).uniform_(lo, hi),
    "normal_": lambda dtype, n, mean, std: empty(n, dtype).normal_(mean, std),
    "normal_strided": lambda dtype, n, mean, std: empty(2 * n, dtype)[::2].normal_(mean, std),
    "exponential_": lambda dtype, n, lambd: empty(n, dtype).exponential_(lambd),
    "geometric_": lambda dtype, n, p: empty(n, dtype).geometric_(p),
    "cauchy_": lambda dtype, n, median, sigma: empty(n, dtype).cauchy_(median, sigma),
    "log_normal_": lambda dtype, n, mean, std: empty(n, dtype).log_normal_(mean, std),
    "bernoulli_": lambda dtype, n, p: empty(n, dtype).bernoulli_(p),
    "bernoulli_p": lambda dtype, n: torch.bernoulli(torch.tensor(np.arange(n) / n).to(dtype)),
    "random_": lambda dtype, n: empty(n, dtype).random_(),
    "randint": lambda dtype, n, lo, hi: torch.randint(lo, hi, (n,), dtype=dtype),
    "randperm": lambda dtype, n: torch.randperm(n, dtype=dtype),
    "multinomial": lambda dtype, k, replacement: torch.multinomial(
        torch.tensor(WEIGHTS, dtype=dtype), k, replacement
    ),
    "poisson": lambda dtype: torch.poisson(torch.tensor(RATES * 3, dtype=dtype)),
    "binomial": _binomial,
    "standard_gamma": lambda dtype: torch._standard_gamma(
        torch.tensor([0.05, 0.5, 1, 2.5, 30] * 4, dtype=dtype)
    ),
    "dirichlet": lambda dtype: torch._sample_dirichlet(
        torch.tensor([[0.2, 1, 3, 0.7, 5]] * 4, dtype=dtype)
    ),
    "dropout": lambda dtype, n, p: functional.dropout(spread(n, dtype), p),
    "alpha_dropout": lambda dtype, p: functional.alpha_dropout(spread(24, dtype), p, True),
    "feature_dropout": lambda dtype, p: functional.dropout1d(spread(24, dtype).view(2, 3, 4), p),
    "rrelu": lambda dtype: functional.rrelu(spread(24, dtype), training=True),
    "trunc_normal_": lambda dtype, **kw: nn.init.trunc_normal_(
        torch.empty(5, 7, dtype=dtype), **kw
    ),
    "init": lambda dtype, fn, shape, kw: getattr(nn.init, fn)(torch.empty(shape), **kw),
    "sparse_": lambda dtype, sparsity: nn.init.sparse_(torch.empty(10, 6), sparsity),
    "view": lambda dtype, fn, shape, strides: _view(fn, shape, strides),
    "module": lambda dtype, make: _module(make),
    "sequence": lambda dtype: _sequence(),
    "get_rng_state": lambda dtype, after, randn: _state(after, randn),
}


def name_of(case: dict[str, Any]) -> str:
    given = "-".join(str(value) for value in case["args"].values())
    return f"{case['fn']}-{case['dtype']}-{given}-seed{case['seed']}".replace(" ", "")


def encoded(result: torch.Tensor) -> dict[str, Any]:
    """The result's values as in the file."""
    array = np.ascontiguousarray(
        result.numpy() if result.dtype != torch.bfloat16 else _bits(result)
    )
    if array.dtype.kind in "iub" and result.dtype != torch.bfloat16:
        if array.size == 5056:
            return {"zlib_base64": array.tobytes()}
        values = array.astype("<i8").ravel()
        if values.size <= 64:
            return {"ints": values.tolist()}
        hashed = hashlib.sha256(values.tobytes()).hexdigest()
        ends = {"head_ints": values[:16].tolist(), "tail_ints": values[-16:].tolist()}
        return {**ends, "sha256": hashed}
    words = array.view(f"<u{array.itemsize}").ravel()
    width = 2 * array.itemsize

    def text(part: np.ndarray) -> str:
        return "".join(f"{int(word):0{width}x}" for word in part)

    if words.size <= 64:
        return {"bits": text(words)}
    hashed = hashlib.sha256(words.tobytes()).hexdigest()
    return {"head": text(words[:16]), "tail": text(words[-16:]), "sha256": hashed}


def _bits(result: torch.Tensor) -> np.ndarray:
    return (result.float().numpy().view(np.uint32) >> 16).astype(np.uint16)


def wanted(case: dict[str, Any]) -> dict[str, Any]:
    """The values of a case, to be compared with those of `encoded`."""
    fields = ("ints", "head_ints", "tail_ints", "sha256", "bits", "head", "tail")
    found = {field: case[field] for field in fields if field in case}
    if "zlib_base64" in case:
        found["zlib_base64"] = zlib.decompress(base64.b64decode(case["zlib_base64"]))
    return found


def check(case: dict[str, Any], call: Callable[..., torch.Tensor]) -> None:
    """Runs the call of a case; values, shape, dtype and the generator afterwards must agree."""
    torch.manual_seed(case["seed"])

    result = call(getattr(torch, case["dtype"]), **case["args"])

    assert list(result.shape) == case["shape"]
    assert str(result.dtype) == "torch." + case["out_dtype"]
    assert encoded(result) == wanted(case)
    waiting = torch.default_generator.next_normal
    assert case["cached"] == (None if waiting is None else f"{_word(waiting):016x}")
    assert int(torch.empty((), dtype=torch.int64).random_()) == case["next63"]


def _word(number: float) -> int:
    return int(np.float64(number).view(np.uint64))
