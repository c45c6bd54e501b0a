"""dtypes and PyTorch's promotion rules.

A dtype here is a singleton that knows its numpy twin (`float32.numpy`). Promotion is PyTorch's,
not numpy's: operands with dimensions outrank 0-d tensors, which outrank Python numbers, and only
the category (bool < integer < float < complex) of a lower rank can change the result.
"""

from __future__ import annotations

import numpy as np

from taper.errors import MissingFeature

_BY_NUMPY: dict[np.dtype, dtype] = {}
_ALL: dict[str, dtype] = {}

BOOL, INTEGER, FLOAT, COMPLEX = range(4)


class dtype:
    """The type of a tensor's elements, such as `taper.float32`."""

    __slots__ = (
        "_numpy",
        "category",
        "is_complex",
        "is_floating_point",
        "is_signed",
        "itemsize",
        "name",
    )

    __module__ = "taper"  # where a pickle finds it under its public name
    name: str
    category: int

    def __init__(self, name: str, category: int, itemsize: int, signed: bool = True) -> None:
        self.name = name
        self.category = category
        self.itemsize = itemsize
        self.is_signed = signed
        self.is_floating_point = category == FLOAT
        self.is_complex = category == COMPLEX
        self._numpy: np.dtype | None = None
        _ALL[name] = self
        if name != "bfloat16":
            self._numpy = np.dtype(name)
            _BY_NUMPY[self._numpy] = self

    @property
    def numpy(self) -> np.dtype:
        """The numpy dtype; asking for bfloat16's imports ml_dtypes."""
        if self._numpy is None:
            _import_bfloat16()
        return self._numpy  # type: ignore[return-value]

    def __repr__(self) -> str:
        return "torch." + self.name

    def __reduce__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: object) -> dtype:
        return self

    def __copy__(self) -> dtype:
        return self

    def to_real(self) -> dtype:
        """The dtype of the real part."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def to_complex(self) -> dtype:
        """The complex dtype of the same precision."""
        return {"float64": complex128, "complex128": complex128}.get(self.name, complex64)


def _import_bfloat16() -> None:
    try:
        import ml_dtypes
    except ImportError as error:
        raise NotImplementedError(
            "bfloat16 needs the package ml_dtypes: pip install ml_dtypes, or use float32"
        ) from error
    bfloat16._numpy = np.dtype(ml_dtypes.bfloat16)
    _BY_NUMPY[bfloat16._numpy] = bfloat16


bool_ = dtype("bool", BOOL, 1, signed=False)
uint8 = dtype("uint8", INTEGER, 1, signed=False)
int8 = dtype("int8", INTEGER, 1)
int16 = short = dtype("int16", INTEGER, 2)
int32 = int_ = dtype("int32", INTEGER, 4)
int64 = long = dtype("int64", INTEGER, 8)
uint16 = dtype("uint16", INTEGER, 2, signed=False)
uint32 = dtype("uint32", INTEGER, 4, signed=False)
uint64 = dtype("uint64", INTEGER, 8, signed=False)
float16 = half = dtype("float16", FLOAT, 2)
bfloat16 = dtype("bfloat16", FLOAT, 2)
float32 = float_ = dtype("float32", FLOAT, 4)
float64 = double = dtype("float64", FLOAT, 8)
complex64 = cfloat = dtype("complex64", COMPLEX, 8)
complex128 = cdouble = dtype("complex128", COMPLEX, 16)


class NamedOnly(dtype):
    """A dtype of PyTorch's that programs name in tables; taper has no tensors of it."""

    __slots__ = ("_signed",)
    __module__ = "taper"

    def __init__(self, name: str, category: int, itemsize: int, signed: bool | None = True) -> None:
        self.name = name
        self.category = category
        self.itemsize = itemsize
        self._signed = signed
        self._numpy = None
        self.is_floating_point = category == FLOAT
        self.is_complex = category == COMPLEX
        _NAMED_ONLY[name] = self

    @property
    def is_signed(self) -> bool:  # type: ignore[override]
        """Whether it has negative numbers; a quantized dtype does not say."""
        if self._signed is None:
            raise RuntimeError("isSignedType not supported for quantized types")
        return self._signed

    @property
    def numpy(self) -> np.dtype:
        """Raises: NotImplementedError: there are no tensors of this dtype."""
        raise MissingFeature(
            f"torch.{self.name}",
            "there are no tensors of this dtype; use "
            + ("complex64" if self.is_complex else "float16" if self.is_floating_point else "int8"),
        )


_NAMED_ONLY: dict[str, dtype] = {}
for _name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"):
    NamedOnly(_name, FLOAT, 1)
NamedOnly("float8_e8m0fnu", FLOAT, 1, signed=False)
NamedOnly("complex32", COMPLEX, 4)
for _name in ("quint8", "qint8", "quint4x2", "quint2x4"):
    NamedOnly(_name, INTEGER, 1, signed=None)
NamedOnly("qint32", INTEGER, 4, signed=None)


def named_only() -> dict[str, dtype]:
    """The dtypes that programs may name, by their public names, but of which no tensor is made."""
    return {**_NAMED_ONLY, "chalf": _NAMED_ONLY["complex32"]}


def names() -> dict[str, dtype]:
    """Every dtype by its public names (`float` and `float32`, ...)."""
    short_names = {
        "half": float16,
        "float": float32,
        "double": float64,
        "short": int16,
        "int": int32,
        "long": int64,
        "cfloat": complex64,
        "cdouble": complex128,
    }
    return {**_ALL, **short_names}


def of(numpy_dtype: np.dtype) -> dtype:
    """The taper dtype of a numpy dtype. TypeError where there is none."""
    found = _BY_NUMPY.get(numpy_dtype)
    if found is not None:
        return found
    if numpy_dtype.name == "bfloat16":
        _import_bfloat16()
        return bfloat16
    native = numpy_dtype.newbyteorder("=")
    if native in _BY_NUMPY:
        return _BY_NUMPY[native]
    raise TypeError(
        f"can't convert np.ndarray of type numpy.{numpy_dtype}. The only supported types are: "
        "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, "
        "uint32, uint16, uint8, and bool."
    )


_CPP_NAMES = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
}


def cpp_name(d: dtype) -> str:
    """The dtype's name in PyTorch's error texts, such as Float."""
    return _CPP_NAMES[d.name]


_C_NAMES = {
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "int64": "long int",
    "int32": "int",
    "int16": "short int",
    "int8": "signed char",
    "uint8": "unsigned char",
    "bool": "bool",
    "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>",
    "uint16": "short unsigned int",
    "uint32": "unsigned int",
    "uint64": "long unsigned int",
}


def c_name(d: dtype) -> str:
    """The C type in others of PyTorch's error texts, such as float."""
    return _C_NAMES[d.name]


_default = float32


def get_default_dtype() -> dtype:
    """The dtype that Python floats and integer inputs of floating ops become."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Sets the default floating dtype. TypeError for anything but a floating dtype."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(
            "only floating-point types are supported as the default type"
            if isinstance(d, dtype)
            else "invalid dtype object: only floating-point types are supported as the default type"
        )
    _default = d


def default_complex() -> dtype:
    """The complex dtype that matches the default floating dtype."""
    return complex128 if _default is float64 else complex64


_INT_ORDER = (int8, int16, int32, int64)
_WIDE_UNSIGNED = (uint16, uint32, uint64)


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """Smallest dtype that holds both, by PyTorch's lattice.

    Differs from numpy: int64 with float32 is float32; float16 with bfloat16 is float32.
    """
    if type1 is type2:
        return type1
    low, high = (type1, type2) if type1.category <= type2.category else (type2, type1)
    if high.category == COMPLEX:
        if low is float64 or low is complex128 or high is complex128:
            return complex128
        return complex64
    if high.category != low.category:
        return high
    if high.category == FLOAT:
        if low.itemsize == high.itemsize:
            return float32
        return low if low.itemsize > high.itemsize else high
    if low in _WIDE_UNSIGNED or high in _WIDE_UNSIGNED:
        if low is uint8 or high is uint8:
            return high if low is uint8 else low
        raise RuntimeError(
            f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
            f"{low.name} and {high.name}"
        )
    if low is uint8 or high is uint8:
        other = high if low is uint8 else low
        return int16 if other is int8 else other
    return low if low.itemsize > high.itemsize else high


def of_scalar(value: object) -> dtype:
    """The dtype of a Python number (numpy scalars too), by category."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    if isinstance(value, (int, np.integer)):
        return int64
    if isinstance(value, (float, np.floating)):
        return _default
    if isinstance(value, (complex, np.complexfloating)):
        return default_complex()
    raise TypeError(f"expected a number, got {type(value).__name__}")


def combine(dimensioned: dtype | None, zero_dim: dtype | None, number: dtype | None) -> dtype:
    """Result of the three ranks, each already promoted among its own kind."""
    result = dimensioned
    for lower in (zero_dim, number):
        if lower is None:
            continue
        if result is None:
            result = lower
        elif lower.category > result.category:
            if lower.category == COMPLEX and result.category == FLOAT:
                # The rank decides the precision, the lower rank only that it is complex.
                result = result.to_complex()
            elif lower is number and lower.category == COMPLEX:
                result = default_complex()
            else:
                result = promote_types(result, lower)
    if result is None:
        raise ValueError("no operand to take a dtype from")
    return result


def of_operands(operands: tuple[object, ...] | list[object]) -> dtype:
    """Common dtype of numpy arrays and Python numbers under PyTorch's rules."""
    dimensioned: dtype | None = None
    zero_dim: dtype | None = None
    number: dtype | None = None
    for x in operands:
        if isinstance(x, np.ndarray):
            own = _BY_NUMPY.get(x.dtype) or of(x.dtype)
            if x.ndim:
                dimensioned = own if dimensioned is None else promote_types(dimensioned, own)
            else:
                zero_dim = own if zero_dim is None else promote_types(zero_dim, own)
        elif x is not None:
            own = of_scalar(x)
            number = own if number is None else promote_types(number, own)
    return combine(dimensioned, zero_dim, number)


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether an in-place op may store `from_` into `to`: the category must not shrink."""
    if from_.category > to.category and from_.category > INTEGER:
        return False
    return not (from_.category == INTEGER and to.category == BOOL)


class finfo:
    """Limits of a floating dtype (the default dtype if none is given)."""

    __slots__ = (
        "bits",
        "dtype",
        "eps",
        "max",
        "min",
        "resolution",
        "smallest_normal",
        "smallest_subnormal",
        "tiny",
    )

    def __init__(self, type: dtype | None = None) -> None:
        d = _default if type is None else type
        if not isinstance(d, dtype):
            raise TypeError(f"torch.finfo() requires a floating point input type. Got {d!r}")
        if d.category < FLOAT:
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle "
                f"'{d!r}'"
            )
        real = d.to_real()
        self.dtype = real.name
        self.bits = real.itemsize * 8
        if real is bfloat16:
            self.eps, self.max = 2.0**-7, float(2.0**127 * (2 - 2.0**-7))
            self.tiny = 2.0**-126
            self.resolution = 0.01
            self.smallest_subnormal = 2.0**-133
        else:
            info = np.finfo(real.numpy)
            self.eps, self.max = float(info.eps), float(info.max)
            self.tiny = float(info.tiny)
            self.resolution = float(info.resolution)
            self.smallest_subnormal = float(info.smallest_subnormal)
        self.min = -self.max
        self.smallest_normal = self.tiny

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.tiny:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype."""

    __slots__ = ("bits", "dtype", "max", "min")

    def __init__(self, type: dtype) -> None:
        if not isinstance(type, dtype) or type.category != INTEGER:
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle "
                f"'{type!r}'"
            )
        info = np.iinfo(type.numpy)
        self.dtype = type.name
        self.bits = type.itemsize * 8
        self.max, self.min = int(info.max), int(info.min)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
