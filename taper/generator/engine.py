"""The generator: MT19937 words, PyTorch's seeding and its state as bytes."""

from __future__ import annotations

import ctypes
import operator
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.devices import CPU, require_cpu

if TYPE_CHECKING:
    from taper.devices import device as Device

_FRESH_SEED = 67280421310721  # of a generator that nobody seeded
_WORDS = 624
_MASK = 0xFFFFFFFFFFFFFFFF
# The 5056 bytes of a state, as PyTorch's C++ struct has them.
_STATE = np.dtype(
    {
        "names": ["seed", "left", "seeded", "next", "key", "normal", "has_normal"],
        "formats": ["<u8", "<i4", "<i4", "<u8", (("<u8", _WORDS)), "<f8", "<i4"],
        "offsets": [0, 8, 12, 16, 24, 5024, 5040],
        "itemsize": 5056,
    }
)


def checked_seed(seed: int) -> int:
    """A seed in 64 bits; negative ones as two's complement. Raises: ValueError out of range."""
    if not -(1 << 63) <= seed <= _MASK:
        raise ValueError("Overflow when unpacking long long")
    return seed & _MASK


class Generator:
    """A stream of random numbers, the same as PyTorch's CPU generator gives for the same seed.

    The engine is MT19937. Only the low 32 bits of the seed reach it. A 64-bit word is two draws,
    the high half first.
    """

    # The second number of a pair of normal numbers, kept for the next one who asks.
    next_normal: float | None = None

    def __init__(self, device: Any = "cpu") -> None:
        if str(getattr(device, "type", device)).startswith("cuda"):
            raise RuntimeError(
                "Cannot get CUDA generator without ATen_cuda library: there is only the CPU"
            )
        require_cpu(device)
        self._engine: Any = None
        self._sow: Any = None  # sets the engine's seed
        self._draw: Any = None  # the engine's random_raw; None as long as nothing was drawn
        self._key: Any = None  # words to start from instead of the seed's
        self._memory: Any = None  # the engine's state, seen as an array
        self._seed = _FRESH_SEED

    @property
    def device(self) -> Device:
        """Where the numbers are made: the CPU."""
        return CPU

    # ------------------------------------------------------------ seeds

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of this seed and returns the generator.

        Raises: ValueError if the seed does not fit 64 bits, RuntimeError if it is no integer.
        """
        try:
            number = operator.index(seed)
        except TypeError:
            raise RuntimeError(
                f"manual_seed expected a long, but got {type(seed).__name__}"
            ) from None
        self._seed = checked_seed(number)
        self._draw = self._key = self.next_normal = None
        return self

    def seed(self) -> int:
        """Seeds from the operating system, and returns that seed."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that the stream began with."""
        return self._seed

    # ------------------------------------------------------------ words

    def words(self, count: int) -> np.ndarray:
        """`count` words of 32 bits, as uint64."""
        if count == 0:
            return np.empty(0, np.uint64)
        draw = self._draw
        if draw is None:
            self._load()
            draw = self._draw = self._engine.random_raw
        return draw(count)

    def words64(self, count: int) -> np.ndarray:
        """`count` words of 64 bits."""
        words = self.words(2 * count)
        high = words[0::2] << np.uint64(32)
        high |= words[1::2]
        return high

    def engine_state(self) -> np.ndarray:
        """The engine's own memory, for kernels that draw: 624 words, then the place of the next.

        Valid until the next word is drawn elsewhere or the seed is set, and as long as the generator.
        """
        if self._draw is None:
            self._load()
            self._draw = self._engine.random_raw
        if self._memory is None:
            address = self._engine.ctypes.state_address
            words = (ctypes.c_uint32 * (_WORDS + 1)).from_address(address)
            self._memory = np.ctypeslib.as_array(words)
        return self._memory

    def _load(self) -> None:
        """Brings the engine to the state of a stream of which nothing was drawn."""
        from numpy.random import MT19937, RandomState

        if self._engine is None:
            self._engine = MT19937(0)
            self._sow = RandomState(self._engine).seed
        if self._key is None:
            self._sow(self._seed & 0xFFFFFFFF)
        else:
            self._position(self._key, _WORDS)

    def _position(self, key: np.ndarray, place: int) -> None:
        self._engine.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": place}}

    # ------------------------------------------------------------ states

    def get_state(self) -> Any:
        """The state as a uint8 tensor of 5056 bytes, laid out as PyTorch's."""
        from taper.tensor import wrap

        if self._draw is None:
            self._load()
        inner = self._engine.state["state"]
        record = np.zeros((), _STATE)
        record["seed"] = self._seed
        # A stream of which nothing was drawn has words that are yet to be mixed.
        record["left"] = 1 if self._draw is None else _WORDS + 1 - inner["pos"]
        record["next"] = 0 if self._draw is None else inner["pos"]
        record["seeded"] = 1
        record["key"] = inner["key"]
        if self.next_normal is not None:
            record["normal"], record["has_normal"] = self.next_normal, 1
        return wrap(np.frombuffer(record.tobytes(), np.uint8).copy())

    def set_state(self, new_state: Any) -> Generator:
        """Goes on from a state that get_state() gave, here or in PyTorch.

        Raises: TypeError for anything but a uint8 tensor, RuntimeError for bytes that are no state.
        """
        array = getattr(new_state, "_array", None)
        if array is None:
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        if array.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if array.size != _STATE.itemsize:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {_STATE.itemsize} but found the input "
                f"RNG state size to be {array.size}"
            )
        record = np.frombuffer(array.tobytes(), _STATE)[0]
        left, place = int(record["left"]), int(record["next"])
        if record["seeded"] != 1 or not 0 < left <= _WORDS or place > _WORDS:
            raise RuntimeError("Invalid mt19937 state")
        self._seed = int(record["seed"])
        self._draw = None
        self._key = record["key"].astype(np.uint32)
        self._load()
        if not (left == 1 and place == 0):
            self._position(self._key, _WORDS if left == 1 else place)
            self._draw = self._engine.random_raw
        self.next_normal = float(record["normal"]) if record["has_normal"] else None
        return self

    def clone_state(self) -> Generator:
        """Another generator that goes on from the same state."""
        return Generator().set_state(self.get_state())

    def graphsafe_get_state(self) -> Generator:
        """Not for the CPU, as in PyTorch: use get_state()."""
        raise NotImplementedError(
            "graphsafe_get_state is not supported in this Generator: use get_state()"
        )

    def graphsafe_set_state(self, state: Generator) -> None:
        """Not for the CPU, as in PyTorch: use set_state()."""
        raise NotImplementedError(
            "graphsafe_set_state is not supported in this Generator: use set_state()"
        )

    def get_offset(self) -> int:
        """Not for the CPU, as in PyTorch."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        """Not for the CPU, as in PyTorch."""
        raise RuntimeError("CPU Generator does not use offset")

    def __reduce__(self) -> Any:
        return _restored, (self._seed, self.get_state())


def _restored(seed: int, state: Any) -> Generator:
    return Generator().set_state(state)


default_generator = Generator()
default_generator.seed()
