"""Writes printing.json: how PyTorch prints the tensors listed here. Needs torch to run.

    python tests/golden/printing.py

tests/test_printing.py evaluates the same expressions with taper and compares the texts.
"""

from __future__ import annotations

import json
from pathlib import Path

EXPRESSIONS = [
    # plain numbers
    "torch.tensor(1.0)",
    "torch.tensor(3)",
    "torch.tensor(True)",
    "torch.tensor(1 + 2j)",
    "torch.tensor([1.0, 2.0, 3.0])",
    "torch.tensor([1.5, -2.25, 1000.0])",
    "torch.tensor([1e-5, 1.0])",
    "torch.tensor([1e9, 1.0])",
    "torch.tensor([1e-9, 1e9])",
    "torch.tensor([0.1, 999.9, 1000.1])",
    "torch.tensor([123456789.0])",
    "torch.tensor([-0.0, 0.0])",
    "torch.tensor([99999.5, 0.5])",
    "torch.tensor([[1, -20], [300, 4]])",
    "torch.tensor([2**62, -(2**62)])",
    # nan and infinities
    "torch.tensor([float('nan'), 1.0])",
    "torch.tensor([float('inf'), -float('inf'), 2.5])",
    "torch.tensor([float('nan'), float('inf')])",
    "torch.tensor([float('inf'), 1e10])",
    "torch.tensor(float('nan'))",
    # dtypes
    "torch.tensor([1.0, 2.5], dtype=torch.float64)",
    "torch.tensor([1.0, 2.5], dtype=torch.float16)",
    "torch.tensor([1.0, 2.515625], dtype=torch.bfloat16)",
    "torch.tensor([1, 2], dtype=torch.uint8)",
    "torch.tensor([1, -2], dtype=torch.int8)",
    "torch.tensor([1, -2], dtype=torch.int32)",
    "torch.tensor([[True, False], [False, True]])",
    "torch.tensor([1 + 2j, -1.5 - 2e-3j])",
    "torch.tensor([1 + 2j, 100 - 2j], dtype=torch.complex128)",
    "torch.tensor([complex('nan'), complex(float('inf'), -1)])",
    "torch.tensor([1e-8 + 1j])",
    # empty
    "torch.empty(0)",
    "torch.empty(0, 3)",
    "torch.empty(2, 0, dtype=torch.int64)",
    "torch.empty(0, dtype=torch.float64)",
    # shapes, long rows, summaries
    "torch.arange(24).reshape(2, 3, 4)",
    "torch.arange(16.0).reshape(2, 2, 2, 2)",
    "torch.arange(100)",
    "torch.arange(30.0) / 7",
    "torch.arange(1001)",
    "torch.arange(1000)",
    "torch.arange(10000.0).reshape(100, 100)",
    "torch.arange(3000).reshape(3, 10, 100)",
    "torch.arange(2000).reshape(2, 1000).t()",
    "torch.arange(1200.0).reshape(20, 60) / 3",
    # autograd
    "torch.ones(2, requires_grad=True)",
    "torch.ones(2, 2, requires_grad=True) * 2",
    "torch.ones(3, requires_grad=True).sum()",
    "torch.ones(3, dtype=torch.float64, requires_grad=True)",
    "torch.ones(2, requires_grad=True).detach()",
    "torch.ones(30, requires_grad=True).exp()",
    "torch.ones(2, 3, requires_grad=True)[0]",
    "torch.ones(2, 3, requires_grad=True).view(6)",
    "torch.nn.Parameter(torch.zeros(2, 2))",
    "torch.nn.Parameter(torch.tensor([1.5]), requires_grad=False)",
    # other objects
    "torch.ones(2, 3).shape",
    "torch.float32",
    "torch.device('cpu')",
    "torch.strided",
    "torch.finfo(torch.float32)",
    "torch.iinfo(torch.int8)",
    "torch.tensor([3.0, 1.0]).max(0)",
    "torch.tensor([3.0, 1.0]).sort()",
    "torch.get_default_dtype()",
]

OPTIONS: list[dict[str, object]] = [
    {"precision": 2},
    {"precision": 8},
    {"precision": 0},
    {"threshold": 5},
    {"threshold": 5, "edgeitems": 1},
    {"threshold": 5, "edgeitems": 0},
    {"linewidth": 30},
    {"sci_mode": True},
    {"sci_mode": False},
    {"profile": "short"},
    {"profile": "full"},
    {"profile": "short", "precision": 6},
]

# Printed under each of OPTIONS.
UNDER_OPTIONS = [
    "torch.tensor([1.0, 2.5, 1e-7])",
    "torch.arange(20.0).reshape(4, 5) / 3",
    "torch.arange(20)",
    "torch.tensor([1.5 + 2j, -3.25j])",
    "torch.ones(8, requires_grad=True) * 1.5",
]


def main() -> None:
    import torch

    cases = [{"make": text, "options": {}} for text in EXPRESSIONS]
    cases += [{"make": text, "options": given} for given in OPTIONS for text in UNDER_OPTIONS]
    for case in cases:
        torch.set_printoptions(profile="default")
        torch.set_printoptions(**case["options"])
        case["text"] = repr(eval(str(case["make"]), {"torch": torch}))
    target = Path(__file__).with_suffix(".json")
    target.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
