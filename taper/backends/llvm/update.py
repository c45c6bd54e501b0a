"""An optimizer's update rule as one kernel over all elements.

A rule is written in the words of taper/optim/arithmetic.py: `m.lerp_(exp_avg, grad, 1 - beta1)`.
RuleMath reads it with stand-ins, as pointwise.py reads a formula: words that end with an underscore
give their first argument another value, and what the parameter and the state hold at the end are
the kernel's outputs, written over its inputs. Each word is the steps that numpy would take, so the
bits are those of the rule read with numpy.

The coefficients (learning rate, betas ...) are numbers at run time. Where the rule asks about one
(`if decay != 0`), the answer shapes the kernel: it becomes a guard, and `Rule.holds` tells whether
other coefficients give the same answers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from taper.backends.llvm.pointwise import Pointwise, Trace, Traced, Unsupported

Numbers = Sequence[float]
Guard = tuple[Callable[[Numbers], bool], bool]


class Coefficient:
    """A number of the rule, and how it is made from the rule's coefficients."""

    __slots__ = ("guards", "make", "traced", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, traced: Traced, value: float, make: Callable[[Numbers], float], guards: list[Guard]
    ) -> None:
        self.traced, self.value, self.make, self.guards = traced, value, make, guards

    def _with(self, name: str, function: Callable[..., Any], other: Any, swapped: bool) -> Any:
        if isinstance(other, Coefficient):
            value, make, traced = other.value, other.make, other.traced
        elif type(other) in (int, float):
            value, make = other, lambda numbers: other
            traced = self.traced.trace.lift(other)
        else:
            return NotImplemented
        one, two = (make, self.make) if swapped else (self.make, make)
        made = function(value, self.value) if swapped else function(self.value, value)
        steps = (traced, self.traced) if swapped else (self.traced, traced)
        return Coefficient(
            self.traced.trace.apply(name, *steps), made,
            lambda numbers: function(one(numbers), two(numbers)), self.guards,
        )  # fmt: skip

    def _ask(self, function: Callable[..., bool], other: Any) -> bool:
        if isinstance(other, Coefficient):
            make = other.make
            answer = function(self.value, other.value)
        else:

            def make(numbers: Numbers) -> Any:
                return other

            answer = function(self.value, other)
        own = self.make
        self.guards.append((lambda numbers: function(own(numbers), make(numbers)), answer))
        return answer

    def __add__(self, other: Any) -> Any:
        return self._with("add", operator.add, other, False)

    def __radd__(self, other: Any) -> Any:
        return self._with("add", operator.add, other, True)

    def __sub__(self, other: Any) -> Any:
        return self._with("subtract", operator.sub, other, False)

    def __rsub__(self, other: Any) -> Any:
        return self._with("subtract", operator.sub, other, True)

    def __mul__(self, other: Any) -> Any:
        return self._with("multiply", operator.mul, other, False)

    def __rmul__(self, other: Any) -> Any:
        return self._with("multiply", operator.mul, other, True)

    def __truediv__(self, other: Any) -> Any:
        return self._with("divide", operator.truediv, other, False)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with("divide", operator.truediv, other, True)

    def __neg__(self) -> Coefficient:
        own = self.make
        return Coefficient(
            self.traced.trace.apply("negative", self.traced), -self.value,
            lambda numbers: -own(numbers), self.guards,
        )  # fmt: skip

    def __abs__(self) -> Coefficient:
        own = self.make
        return Coefficient(
            self.traced.trace.apply("absolute", self.traced), abs(self.value),
            lambda numbers: abs(own(numbers)), self.guards,
        )  # fmt: skip

    def __bool__(self) -> bool:
        return self._ask(operator.ne, 0)

    def __eq__(self, other: object) -> bool:
        return self._ask(operator.eq, other)

    def __ne__(self, other: object) -> bool:
        return self._ask(operator.ne, other)

    def __lt__(self, other: Any) -> bool:
        return self._ask(operator.lt, other)

    def __le__(self, other: Any) -> bool:
        return self._ask(operator.le, other)

    def __gt__(self, other: Any) -> bool:
        return self._ask(operator.gt, other)

    def __ge__(self, other: Any) -> bool:
        return self._ask(operator.ge, other)


class Held:
    """An array of the rule: a place whose value changes as the rule goes on."""

    __slots__ = ("value",)

    def __init__(self, value: Traced) -> None:
        self.value = value

    def __lt__(self, other: Any) -> Traced:
        return self.value < _value(other)

    def __gt__(self, other: Any) -> Traced:
        return self.value > _value(other)


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Held) else x.traced if isinstance(x, Coefficient) else x


class RuleMath:
    """The words of taper/optim/arithmetic.py as steps, each of them as ArrayMath takes it."""

    def __init__(self, trace: Trace, code: str) -> None:
        self.trace, self.code = trace, code

    def _apply(self, name: str, *operands: Any) -> Traced:
        return self.trace.apply(name, *(_value(x) for x in operands))

    def _new(self, name: str, *operands: Any) -> Held:
        return Held(self._apply(name, *operands))

    def neg(self, x: Any) -> Held:
        return self._new("negative", x)

    def abs(self, x: Any) -> Held:
        return self._new("absolute", x)

    def sign(self, x: Any) -> Held:
        return self._new("sign", x)

    def sqrt(self, x: Any) -> Held:
        return self._new("sqrt", x)

    def sqrt_(self, x: Held) -> Held:
        x.value = self._apply("sqrt", x)
        return x

    def clone(self, x: Held) -> Held:
        return Held(x.value)

    def copy_(self, x: Held, y: Any) -> None:
        x.value = _value(y)

    def add(self, x: Any, y: Any, alpha: Any = 1) -> Held:
        return self._new("add", x, y if alpha == 1 else self._apply("multiply", y, alpha))

    def sub(self, x: Any, y: Any) -> Held:
        return self._new("subtract", x, y)

    def mul(self, x: Any, y: Any) -> Held:
        return self._new("multiply", x, y)

    def div(self, x: Any, y: Any) -> Held:
        return self._new("divide", x, y)

    def add_(self, x: Held, y: Any, alpha: Any = 1) -> None:
        x.value = self.add(x, y, alpha).value

    def mul_(self, x: Held, y: Any) -> None:
        x.value = self._apply("multiply", x, y)

    def div_(self, x: Held, y: Any) -> None:
        x.value = self._apply("divide", x, y)

    def addcmul_(self, x: Held, y: Any, z: Any, value: Any = 1) -> None:
        scaled = y if value == 1 else self._apply("multiply", y, value)
        x.value = self._apply("add", x, self._apply("multiply", scaled, z))

    def addcdiv_(self, x: Held, y: Any, z: Any, value: Any = 1) -> None:
        scaled = y if value == 1 else self._apply("multiply", y, value)
        x.value = self._apply("add", x, self._apply("divide", scaled, z))

    def lerp_(self, x: Held, end: Any, weight: Any) -> None:
        gap = self._apply("subtract", end, x)
        if abs(weight) < 0.5:
            x.value = self._apply("add", x, self._apply("multiply", gap, weight))
        else:
            x.value = self._apply("subtract", end, self._apply("multiply", gap, 1 - weight))

    def maximum_(self, x: Held, y: Any) -> None:
        x.value = self._apply("maximum", x, y)

    def clamp_(self, x: Held, low: Any, high: Any) -> None:
        x.value = self._apply("minimum", self._apply("maximum", x, low), high)

    def where(self, condition: Any, x: Any, y: Any) -> Held:
        made = self.trace.where(_value(condition), _value(x), _value(y))
        return Held(self.trace.astype(made, self.code))


class Rule:
    """A rule's kernel, and the answers that it rests on.

    The kernel takes param, grad, the state arrays and `count` numbers, and writes over those that
    the rule changes.
    """

    __slots__ = ("_guards", "kernel", "places")

    def __init__(self, kernel: Pointwise, guards: list[Guard], places: tuple[int, ...]) -> None:
        self.kernel = kernel
        self._guards = guards
        self.places = places  # of the numbers among the coefficients

    def holds(self, numbers: Numbers) -> bool:
        """Whether the rule takes the same way with these numbers."""
        return all(ask(numbers) is answer for ask, answer in self._guards)


def read(
    rule: Callable[..., None], code: str, states: int, coefficients: Sequence[Any], maximize: bool
) -> Rule:
    """The kernel of `rule(m, param, grad, state, coefficients)` for arrays of dtype `code`.

    Coefficients that are ints or floats are numbers at run time; others are what they are.
    Raises: Unsupported.
    """
    trace = Trace()
    guards: list[Guard] = []
    given: list[Any] = []
    places = tuple(i for i, c in enumerate(coefficients) if type(c) in (int, float))

    def picker(index: int) -> Callable[[Numbers], float]:
        return lambda numbers: numbers[index]

    for i, c in enumerate(coefficients):
        if i in places:
            number = places.index(i)
            step = trace.add_step("number", "w", number)
            given.append(Coefficient(step, c, picker(number), guards))
        elif c is None or type(c) in (bool, str):
            given.append(c)
        else:
            raise Unsupported(f"a coefficient of type {type(c).__name__}")
    arrays = [Held(trace.add_step("input", code, i)) for i in range(2 + states)]
    before = [held.value for held in arrays]
    m = RuleMath(trace, code)
    param, grad, *state = arrays
    rule(m, param, m.neg(grad) if maximize else grad, state, tuple(given))
    changed = [
        i for i, (held, old) in enumerate(zip(arrays, before, strict=True))
        if held.value.number != old.number
    ]  # fmt: skip
    if 1 in changed:
        raise Unsupported("a rule that changes the gradient")
    program = trace.program(tuple(arrays[i].value for i in changed))
    if any(dtype != code for dtype in program.dtypes):
        raise Unsupported("a rule that computes in another dtype")
    kernel = Pointwise(
        program, code * len(arrays), len(places), (1,) * len(arrays), 0, tuple(changed)
    )
    return Rule(kernel, guards, places)
