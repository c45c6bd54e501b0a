"""Fits the polynomials of taper/backends/llvm/coefficients.py and prints that file.

Minimax by Remez's exchange, in 40 digits (needs mpmath, which taper itself does not):

    python benchmarks/_fit.py > taper/backends/llvm/coefficients.py
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from mpmath import mp, mpf

mp.dps = 40


def remez(function: Callable[[Any], Any], low: Any, high: Any, degree: int,
          weight: Callable[[Any], Any] = lambda x: mpf(1), rounds: int = 12) -> tuple[list[Any], Any]:  # fmt: skip
    """Coefficients, lowest first, that make max |weight (polynomial - function)| least, and it."""
    low, high = mpf(low), mpf(high)
    count = degree + 2
    middle, half = (low + high) / 2, (high - low) / 2
    points = [middle - half * mp.cos(mp.pi * i / (count - 1)) for i in range(count)]
    grid = [middle - half * mp.cos(mp.pi * i / (30 * count)) for i in range(30 * count + 1)]
    values = [(x, function(x), weight(x)) for x in grid]
    found: list[Any] = []
    worst = mpf(0)
    for _ in range(rounds):
        rows = mp.matrix(count, count)
        right = mp.matrix(count, 1)
        for i, x in enumerate(points):
            for j in range(degree + 1):
                rows[i, j] = x**j
            rows[i, degree + 1] = (-1) ** i / weight(x)
            right[i] = function(x)
        solved = mp.lu_solve(rows, right)
        found = [solved[j] for j in range(degree + 1)]
        errors = [(w * (mp.polyval(found[::-1], x) - y), x) for x, y, w in values]
        worst = max(abs(e) for e, _ in errors)
        # The extremes between changes of sign are the next points.
        runs: list[tuple[Any, Any]] = []
        for error, x in errors:
            if runs and (error > 0) == (runs[-1][0] > 0):
                if abs(error) > abs(runs[-1][0]):
                    runs[-1] = (error, x)
            else:
                runs.append((error, x))
        while len(runs) > count:
            runs.pop(0 if abs(runs[0][0]) < abs(runs[-1][0]) else -1)
        if len(runs) < count:
            break
        following = [x for _, x in runs]
        if following == points:
            break
        points = following
    return found, worst


def series(function: Callable[[Any], Any], terms: int = 40) -> Callable[[Any], Any]:
    """The power series of a function around 0, for where its formula cancels."""
    coefficients = mp.taylor(function, 0, terms)
    return lambda x: mp.polyval(coefficients[::-1], x)


def after(function: Callable[[Any], Any], start: int, step: int = 1) -> Callable[[Any], Any]:
    """The series of a function without its first `start` powers, divided by x^start, in x^step."""
    with mp.workdps(60):
        coefficients = mp.taylor(function, 0, 80)[start::step]
    return lambda x: mp.polyval(coefficients[::-1], x)


def _log_tail(f: Any) -> Any:
    if abs(f) < 1e-5:
        return mpf(1) / 3 - f / 4 + f * f / 5
    return (mp.log1p(f) - f + f * f / 2) / f**3


def rounded(value: Any, kind: str) -> Any:
    """The nearest number of the format."""
    return mpf(
        struct.unpack("f", struct.pack("f", float(value)))[0] if kind == "F32" else float(value)
    )


def erf_pieces(
    kind: str, width: Any, degree: int
) -> tuple[list[Any], list[Any], list[list[Any]], Any]:
    """erf around 16 nodes: (nodes, erf of them, coefficients of (erf(node + d) - erf(node)) / d), error.

    A node is a number of the format whose erf is nearly one, so that it needs no second part
    (Gal's accurate tables). Around 0 the quotient is given less 1.
    """
    nodes, values, table, worst = [mpf(0)], [mpf(0)], [], mpf(0)
    for i in range(1, 16):
        unit = width * i / 2 ** (24 if kind == "F32" else 53)
        tried = [rounded(width * i + step * unit, kind) for step in range(-800, 800)]
        best = min(tried, key=lambda c: abs(mp.erf(c) - rounded(mp.erf(c), kind)))
        nodes.append(best)
        values.append(rounded(mp.erf(best), kind))
    for node in nodes:
        own = mp.erf(node)
        slope = 2 / mp.sqrt(mp.pi) * mp.exp(-node * node)

        def quotient(d: Any, node: Any = node, own: Any = own, slope: Any = slope) -> Any:
            if abs(d) < mpf("1e-12"):
                return slope * (1 - node * d)
            return (mp.erf(node + d) - own) / d

        def weight(d: Any, node: Any = node) -> Any:
            return (abs(d) + mpf("1e-3")) / (mp.erf(node + d) + mpf("1e-3"))

        half = width / 2 * mpf("1.001")
        found, error = remez(quotient, -half if node else 0, half, degree, weight)
        if not node:
            found[0] -= 1
        table.append(found)
        worst = max(worst, error)
    return nodes, values, table, worst


def mills(center: float) -> Callable[[Any], Any]:
    """exp(t^2 / 2) times the normal distribution's tail beyond t, of w = (t - c) / (t + c)."""

    def function(w: Any) -> Any:
        t = center * (1 + w) / (1 - w)
        return mp.erfc(t / mp.sqrt(2)) / 2 * mp.exp(t * t / 2) * (t + center)

    return function


def mills_pieces(degree: int) -> tuple[list[Any], list[list[Any]], Any]:
    """exp(t^2 / 2) P(normal > t) around 16 nodes: (nodes, coefficients), error.

    A piece is a quarter of an octave of t + 1: the low four bits of its float's exponent and two
    of its mantissa, in that order, are the piece's number.
    """
    nodes, table, worst = [], [], mpf(0)
    for place in range(16):
        octave = mpf(2) ** ((place // 4 + 1) % 4)
        low, high = (octave * (1 + mpf(place % 4 + i) / 4) - 1 for i in (0, 1))
        node, half = (low + high) / 2, (high - low) / 2 * mpf("1.0001")

        def share(d: Any, node: Any = node) -> Any:
            return mp.erfc((node + d) / mp.sqrt(2)) / 2 * mp.exp((node + d) ** 2 / 2)

        def weight(d: Any, share: Callable[[Any], Any] = share) -> Any:
            return 1 / share(d)

        found, error = remez(share, -half, half, degree, weight)
        nodes.append(node)
        table.append(found)
        worst = max(worst, error)
    return nodes, table, worst


def mills_range(center: float, most: float) -> tuple[Any, Any]:
    """The range of w for t from 0 to `most`."""
    return mpf(-1), (mpf(most) - center) / (mpf(most) + center)


EDGE = mpf("0.55")
ATANH_MOST = mpf(1) / 25  # the square of (m - 1) / (m + 1) for m up to 1.5
ERF = {"F32": (mpf("0.262"), 5), "F64": (mpf("0.387"), 12)}  # distance of the nodes, degree
FAR, CENTER = 39.0, 4.0


def tables() -> dict[str, tuple[str, list[Any], Any]]:
    """name -> (what it is, coefficients, error)."""
    made: dict[str, tuple[str, list[Any], Any]] = {}
    for kind, degrees in (
        ("F32", (4, 8, 4, 0, 3, 3)),
        ("F64", (10, 7, 11, 24, 6, 5)),
    ):
        exp, log, tanh, tail, sin, cos = degrees
        half = mp.log(2) / 2 + mpf("1e-3")
        made[f"EXP_{kind}"] = ("(exp(r) - 1 - r) / r^2",
            *remez(after(mp.exp, 2), -half, half, exp, lambda r: r * r + mpf("1e-6")))  # fmt: skip
        if kind == "F32":
            made[f"LOG_{kind}"] = ("(log(1 + f) - f + f^2 / 2) / f^3",
                *remez(_log_tail, -0.25, 0.5, log, lambda f: f * f + mpf("1e-3")))  # fmt: skip
        else:
            made["ATANH_F64"] = ("(2 atanh(s) - 2 s) / s^3, of s^2",
                *remez(after(lambda s: 2 * mp.atanh(s), 3, 2), 0, ATANH_MOST, log, lambda z: z + mpf("1e-3")))  # fmt: skip
        made[f"TANH_{kind}"] = ("(tanh(x) - x) / x^3, of x^2",
            *remez(after(mp.tanh, 3, 2), 0, EDGE**2, tanh, lambda z: z + mpf("1e-3")))  # fmt: skip
        if kind == "F64":
            made["MILLS_F64"] = (
                f"exp(t^2 / 2) P(normal > t) (t + {CENTER:g}), of (t - {CENTER:g}) / (t + {CENTER:g})",
                *remez(mills(CENTER), *mills_range(CENTER, FAR), tail))  # fmt: skip
        quarter = (mp.pi / 4) ** 2 * mpf("1.001")
        made[f"SIN_{kind}"] = ("(sin(r) - r) / r^3, of r^2",
            *remez(after(mp.sin, 3, 2), 0, quarter, sin, lambda z: z + mpf("1e-3")))  # fmt: skip
        made[f"COS_{kind}"] = ("(cos(r) - 1 + r^2 / 2) / r^4, of r^2",
            *remez(after(mp.cos, 4, 2), 0, quarter, cos, lambda z: z * z + mpf("1e-3")))  # fmt: skip
    made["ATANH_WIDE"] = ("(2 atanh(s) - 2 s) / s^3, of s^2, for float32 results in float64",
        *remez(after(lambda s: 2 * mp.atanh(s), 3, 2), 0, ATANH_MOST, 4, lambda z: z + mpf("1e-3")))  # fmt: skip
    made["ATANH_REST"] = ("(2 atanh(s) - 2 s - 2/3 s^3) / s^5, of s^2",
        *remez(after(lambda s: 2 * mp.atanh(s), 5, 2), 0, ATANH_MOST, 7, lambda z: z * z + mpf("1e-4")))  # fmt: skip
    made["EXP2_WIDE"] = (
        "2^r, for float32 results in float64",
        *remez(lambda r: 2**r, -0.5, 0.5, 6),
    )
    return made


def shown(value: Any, kind: str) -> str:
    if kind == "F32":
        return repr(struct.unpack("f", struct.pack("f", float(value)))[0])
    return repr(float(value))


def split(value: Any, bits: int, pieces: int, last: str) -> list[str]:
    """value as a sum: pieces of `bits` bits, and what is left."""
    made = []
    for _ in range(pieces - 1):
        exponent = mp.floor(mp.log(abs(value), 2))
        unit = mpf(2) ** (exponent - bits + 1)
        head = mp.floor(value / unit) * unit
        made.append(repr(float(head)))
        value -= head
    return [*made, shown(value, last)]


def main() -> None:
    print('"""Coefficients of the elementary functions, lowest power first.\n')
    print(
        "Written by benchmarks/_fit.py; the error of each is that of the polynomial, weighted as its"
    )
    print('place in the function demands.\n"""\n')
    for name, (what, found, error) in tables().items():
        kind = name.rpartition("_")[2]
        print(f"# {what}: {mp.nstr(error, 2)}, 2^{mp.nstr(mp.log(error, 2), 3)}")
        print(f"{name} = ({', '.join(shown(c, kind) for c in found)})")
    for kind, (width, degree) in ERF.items():
        nodes, values, table, error = erf_pieces(kind, width, degree)
        print(f"\n# erf around 16 nodes: {mp.nstr(error, 2)}, 2^{mp.nstr(mp.log(error, 2), 3)}")
        print(f"ERF_STEP_{kind} = {shown(width, kind)}")
        print(f"ERF_NODES_{kind} = ({', '.join(shown(c, kind) for c in nodes)})")
        print(f"ERF_VALUES_{kind} = ({', '.join(shown(c, kind) for c in values)})")
        print("# A row for each power of the distance, lowest first.")
        rows = [", ".join(shown(piece[d], kind) for piece in table) for d in range(degree + 1)]
        print(f"ERF_{kind} = ({', '.join(f'({row})' for row in rows)})")
    nodes, table, error = mills_pieces(6)
    print(
        f"\n# exp(t^2 / 2) P(normal > t) around 16 nodes: {mp.nstr(error, 2)}, 2^{mp.nstr(mp.log(error, 2), 3)}"
    )
    print(f"MILLS_NODES_F32 = ({', '.join(shown(c, 'F32') for c in nodes)})")
    rows = [", ".join(shown(piece[d], "F32") for piece in table) for d in range(7)]
    print(f"MILLS_F32 = ({', '.join(f'({row})' for row in rows)})")
    mp.dps = 400
    print(
        "\n# Constants as sums whose first parts have so few bits that products with small integers are exact."
    )
    print(f"LN2_F32 = ({', '.join(split(mp.log(2), 15, 2, 'F32'))})")
    print(f"LN2_F64 = ({', '.join(split(mp.log(2), 41, 2, 'F64'))})")
    print(f"HALF_PI_F32 = ({', '.join(split(mp.pi / 2, 24, 3, 'F32'))})")
    print(f"HALF_PI_F64 = ({', '.join(split(mp.pi / 2, 53, 3, 'F64'))})")
    print(f"LOG2E_F32 = ({', '.join(split(1 / mp.log(2), 24, 2, 'F32'))})")
    print(f"LOG2E_F64 = ({', '.join(split(1 / mp.log(2), 53, 2, 'F64'))})")
    print(f"LN2_PAIR_F32 = ({', '.join(split(mp.log(2), 24, 2, 'F32'))})")
    print(f"LN2_PAIR_F64 = ({', '.join(split(mp.log(2), 53, 2, 'F64'))})")
    bits = int(mp.floor(2 / mp.pi * mpf(2) ** (64 * 20)))
    words = [hex(bits >> (64 * (19 - i)) & (2**64 - 1)) for i in range(20)]
    print(
        f"\n# The first 1280 bits of 2 / pi behind the point.\nTWO_OVER_PI = ({', '.join(words)})"
    )


if __name__ == "__main__":
    main()
