"""Samples of the ops in taper/ops/arithmetic.py, combine.py, choose.py, rounding.py and convert.py."""

from __future__ import annotations

from op_samples import number
from taper import dtypes

INTEGER = {"Gcd", "Lcm"}
COMPLEX_RESULT = {"Polar"}
NO_DERIVATIVE = {"Heaviside", "FloorDivide"}  # PyTorch has none either
DOMAIN = {"Addcdiv": (0.5, 2), "DivFloor": (0.6, 0.9), "PowOfNumber": (0.5, 2)}
ATTRS = {
    "Addcmul": {"value": 0.5},
    "Addcdiv": {"value": 0.5},
    "LerpScalar": {"weight": 0.3},
    "Clamp": {"low": -1.0, "high": 1.0},
    "ClampMinNumber": {"low": -1.0, "high": None},
    "ClampMaxNumber": {"low": None, "high": 1.0},
    "NanToNum": {"nan": 0.0, "high": 9.0, "low": -9.0},
    "RoundDecimals": {"decimals": 1},
}
SAMPLES = {
    "ClampBetween": lambda: [
        ([number(3, 4), number(3, 4, low=-1.5, high=-0.5), number(3, 4, low=0.4, high=1.4)], {})
    ],
    "Cast": lambda: [
        ([number(3, 4)], {"to": dtypes.float64, "source": dtypes.float64}),
        ([number(3, 4)], {"to": dtypes.complex128, "source": dtypes.float64}),
    ],
    "Fill": lambda: [([number(3, 4), number(seed=1)], {})],
    "FillNumber": lambda: [([number(3, 4), number(seed=1)], {})],
    "FillTensor": lambda: [([number(3, 4), number(seed=1)], {})],
    "FillZero": lambda: [([number(3, 4), number(seed=1)], {})],
    "Frexp": lambda: [([number(3, 4)], {})],
}
