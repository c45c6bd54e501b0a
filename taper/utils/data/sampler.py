"""Samplers: the order in which a loader asks for samples.

The random ones draw exactly the words that PyTorch's draw, at the same moments, so that a seed
gives the same order and leaves the generators in the same state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import chain, islice, repeat
from typing import Any, Generic, TypeVar

import numpy as np

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]

_Index_co = TypeVar("_Index_co", covariant=True)

# With replacement, so many numbers are drawn at a time.
_CHUNK = 32


class Sampler(Generic[_Index_co]):
    """Base of the samplers: `__iter__` gives indices, or lists of them for whole batches."""

    def __iter__(self) -> Iterator[_Index_co]:
        raise NotImplementedError


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ... up to the length of the data."""

    data_source: Sized

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Indices in random order, or with `replacement` independent ones.

    `num_samples` None stands for the length of the data; more than that begins a new permutation
    when one is used up. Without `generator` each pass seeds one of its own from the default.
    Raises: TypeError, ValueError for options that make no sense.
    """

    data_source: Sized
    replacement: bool
    _own: Any = (
        None  # generator of the passes, seeded anew for each: making one costs a step's time
    )

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(
                "num_samples should be a positive integer value, but got "
                f"num_samples={self.num_samples}"
            )

    @property
    def num_samples(self) -> int:
        """How many indices one pass gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        for part in self.parts():
            yield from part.tolist()

    def parts(self) -> Iterator[np.ndarray]:
        """The indices of one pass in arrays, each drawn when the one before is used up."""
        import taper

        n = len(self.data_source)
        generator = self.generator
        if generator is None:
            seed = draw_seed(None)
            if not self.replacement and self.num_samples == n:  # all of it is drawn here and now
                if self._own is None:
                    self._own = taper.Generator()
                yield taper.randperm(n, generator=self._own.manual_seed(seed))._array
                return
            generator = taper.Generator().manual_seed(seed)
        if self.replacement:
            # Programs that never stop ask for a number of samples that no list could hold.
            whole, rest = divmod(self.num_samples, _CHUNK)
            for size in chain(repeat(_CHUNK, whole), (rest,)):
                yield taper.randint(
                    high=n,
                    size=(size,),
                    dtype=taper.int64,
                    generator=generator,
                )._array
            return
        whole, rest = divmod(self.num_samples, n)
        # The user's generator draws a last permutation even if none of it is used: PyTorch's moves
        # on, and with it every later epoch. One of our own is thrown away, and nobody can tell.
        last = (rest,) if rest or self.generator is not None else ()
        for size in chain(repeat(n, whole), last):
            order = taper.randperm(n, generator=generator)._array
            yield order[:size]

    def __len__(self) -> int:
        return self.num_samples


def draw_seed(generator: Any) -> int:
    """A seed from the generator (None: the default one): one 64-bit word without its sign."""
    import taper

    word = taper.empty((), dtype=taper.int64).random_(generator=generator)
    return int(word.item())


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    indices: Sequence[int]

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        import taper

        order = taper.randperm(len(self.indices), generator=self.generator)
        for i in order.tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Indices 0 to len(weights) - 1 with probabilities in proportion to the weights.

    Raises: ValueError for options that make no sense.
    """

    num_samples: int
    replacement: bool

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        import taper

        _check_positive("num_samples", num_samples)
        if not isinstance(replacement, bool):
            raise ValueError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        self.weights = taper.as_tensor(weights, dtype=taper.float64)
        if self.weights.ndim != 1:
            raise ValueError(
                "weights should be a 1d sequence but given weights have shape "
                f"{tuple(self.weights.shape)}"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        import taper

        drawn = taper.multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        yield from drawn.tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The indices of another sampler, `batch_size` at a time.

    A last batch that is not full is left out with `drop_last`.
    Raises: ValueError for options that make no sense.
    """

    def __init__(
        self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool
    ) -> None:
        _check_positive("batch_size", batch_size)
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        least = self.batch_size if self.drop_last else 1
        # Looks for the end only when the next batch is asked for: until then the sampler must not
        # draw.
        while len(batch := list(islice(indices, self.batch_size))) >= least:
            yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")
