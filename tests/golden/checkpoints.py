"""Records files that PyTorch writes: python tests/golden/checkpoints.py > tests/golden/checkpoints.json

The json holds each file in base64. What is in them is stated by `objects`, which the test rebuilds
with taper and compares.
"""

from __future__ import annotations

import base64
import io
import json
from collections import OrderedDict
from typing import Any

DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128", "uint8", "int8",
          "int16", "int32", "int64", "bool")  # fmt: skip


def objects(torch: Any) -> dict[str, Any]:
    """What each file holds, made with `torch` (PyTorch when recording, taper when testing)."""
    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    linear = OrderedDict(
        weight=torch.tensor([[1.0, -2.0], [0.5, 4.0]]), bias=torch.tensor([0.25, -0.125])
    )
    return {
        "dtypes": {name: torch.tensor([0, 1, 1]).to(getattr(torch, name)) for name in DTYPES},
        "views": {"whole": whole, "column": whole[:, 1], "turned": whole.T, "none": whole[:0]},
        "plain": [1, 2**70, -1.5, "text", b"bytes", None, True, (1, (2,)), {"a": {3, 4}}, 1 + 2j],
        "state": linear,
        "grad": torch.tensor([1.0, 2.0], requires_grad=True),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "names": [torch.float16, torch.Size([2, 3]), torch.device("cpu")],
    }


def main() -> None:
    """Prints the files as json."""
    import torch

    files: dict[str, str] = {}
    for name, value in objects(torch).items():
        for suffix, zipped in (("", True), (".legacy", False)):
            buffer = io.BytesIO()
            torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
            files[name + suffix] = base64.b64encode(buffer.getvalue()).decode()
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    training = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "output": model(torch.ones(1, 2)).item(),
    }
    buffer = io.BytesIO()
    torch.save(training, buffer)
    files["training"] = base64.b64encode(buffer.getvalue()).decode()
    print(json.dumps(files, indent=0))


if __name__ == "__main__":
    main()
