"""Samples of the ops in taper/ops/logic.py and compare.py."""

from __future__ import annotations

INTEGER = {"BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "LeftShift", "RightShift"}
DOMAIN = {"LeftShift": (0, 8), "RightShift": (0, 8)}
ATTRS = {"IsClose": {"rtol": 0.5, "atol": 0.1, "equal_nan": False}}
