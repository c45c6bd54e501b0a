"""Random numbers on arrays: PyTorch 2.13's, for the same seed, bit for bit.

engine.py has the Generator (words and states), fills.py flat arrays of independent numbers,
choice.py permutations and choices, order.py the order in which a tensor is filled, and fused.py
the arithmetic that makes the last bits right. The public functions are in ops/sampling.py.
"""

from __future__ import annotations

from taper.generator.engine import Generator, default_generator

__all__ = ["Generator", "default_generator"]
