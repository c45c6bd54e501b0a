"""A small kernel that the tests of the machinery build: y += a * x."""

from __future__ import annotations

from dataclasses import dataclass

from taper.backends.llvm import call
from taper.backends.llvm.text import Module


@dataclass(frozen=True)
class Axpy:
    """y[i] += a * x[i] for i < n, in float64; `salt` makes kernels that differ in nothing else."""

    n: int
    salt: int = 0

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    def write(self, module: Module) -> None:
        """Both functions."""
        f = module.function("kernel", aliased=("x", "y"), x="ptr", y="ptr", a="double")
        lanes = module.lanes("double")
        x, y = f.pointer("x", "double"), f.pointer("y", "double")
        a = f.splat(f.arg("a"), lanes)
        whole = self.n // lanes * lanes

        def step(i, mask=None):
            y.store(f.fma(a, x.load(i, lanes, mask), y.load(i, lanes, mask)), i, mask)

        f.loop(0, whole, step, lanes)
        if whole < self.n:
            step(whole, f.mask(self.n - whole, lanes))
        f.ret()
        call.write_entry(module, "entry", f, KINDS)


KINDS = ("array", "array", "float")
