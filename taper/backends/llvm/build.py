"""From a kernel's specification to its address: text, object code, and the caches between.

A specification is a frozen dataclass with a method `write(module)` that defines the functions named
in its `exports`. `library(spec)` gives the addresses of these functions: from memory, else from the
disk, else by writing, parsing and compiling the text. What decides the machine code decides the
key: the specification itself, the source of the generators, the processor, the versions of llvmlite
and LLVM. So a cached file can be damaged, but not wrong; it carries a checksum, and a damaged one is
compiled again.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

from taper.backends.llvm import store
from taper.backends.llvm.machine import Machine, host, start_llvm, target_machine
from taper.backends.llvm.text import Module

# Libraries kept in memory, least recently used first out. One takes some 10 to 100 kB, and lives on
# while somebody has its addresses.
MOST_LIBRARIES = 1024


class Spec(Protocol):
    """What a kernel is, in numbers and words; hashable, and its repr says all of it."""

    @property
    def exports(self) -> tuple[str, ...]:
        """Names of the functions that callers want."""

    def write(self, module: Module) -> None:
        """Defines them."""


class Library:
    """Machine code in this process. It must live as long as any of its addresses is in use."""

    __slots__ = ("__weakref__", "_held", "addresses", "spec")

    def __init__(self, spec: Any, addresses: dict[str, int], held: Any) -> None:
        self.spec, self.addresses, self._held = spec, addresses, held
        _alive.add(self)


_lock = threading.Lock()
_alive: weakref.WeakSet[Library] = weakref.WeakSet()
_libraries: OrderedDict[Any, Library] = OrderedDict()
counts = {"memory": 0, "disk": 0, "compiled": 0}


def library(spec: Any) -> Library:
    """The machine code of a specification."""
    with _lock:
        found = _libraries.get(spec)
        if found is not None:
            counts["memory"] += 1
            _libraries.move_to_end(spec)
        else:
            found = _libraries[spec] = load(spec)
            while len(_libraries) > MOST_LIBRARIES:
                _libraries.popitem(last=False)
    from taper.backends.llvm import buffers  # which is built here, too

    # Whoever needs kernels makes arrays that deserve buffers.
    buffers.install()
    return found


def origin(address: int) -> tuple[Any, str] | None:
    """The specification whose code lies at an address, and the function's name there."""
    for library in list(_alive):
        for name, own in library.addresses.items():
            if own == address:
                return library.spec, name
    return None


def forget() -> None:
    """Empties the cache in memory; code that is in use lives on."""
    with _lock:
        _libraries.clear()


def load(spec: Any) -> Library:
    """The machine code of a specification, from the disk or compiled, past the cache in memory."""
    machine = host()
    key = hashlib.sha256(f"{environment(machine)}{spec!r}".encode()).hexdigest()[:32]
    code = store.get(key)
    if code is None:
        counts["compiled"] += 1
        code = assemble(source(spec, machine), machine)
        store.put(key, code)
    else:
        counts["disk"] += 1
    return Library(spec, *_link(code, spec.exports, key))


@functools.cache
def environment(machine: Machine) -> str:
    """What the machine code depends on besides the kernel itself."""
    import llvmlite
    from llvmlite import binding

    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return repr((digest.hexdigest(), machine, llvmlite.__version__, binding.llvm_version_info))


def source(spec: Any, machine: Machine | None = None) -> str:
    """The LLVM text of a specification."""
    module = Module(machine or host())
    spec.write(module)
    return module.text()


def parse(text: str) -> Any:
    """LLVM's module of a text, verified. Raises: RuntimeError with LLVM's complaint."""
    from llvmlite import binding

    start_llvm()
    parsed = binding.parse_assembly(text)
    parsed.verify()
    return parsed


def assemble(text: str, machine: Machine) -> bytes:
    """Object code of a text."""
    # Closed here: left to its __del__, it would swallow a Ctrl-C that comes meanwhile.
    with parse(text) as parsed:
        parsed.triple = machine.triple
        return bytes(target_machine(machine).emit_object(parsed))


def assembly(spec: Any, machine: Machine | None = None) -> str:
    """The instructions a specification becomes, in the processor's own words."""
    machine = machine or host()
    parsed = parse(source(spec, machine))
    parsed.triple = machine.triple
    return str(target_machine(machine).emit_assembly(parsed))


# Libraries that a linker links. It keeps some 10 kB of each, so it must go some time, too: with the
# last of its libraries.
_LINKS = 128
_numbers = itertools.count()
_linker: Any = None


def _link(code: bytes, exports: tuple[str, ...], key: str) -> tuple[dict[str, int], Any]:
    """Addresses of the exported functions, and what keeps them valid."""
    from llvmlite import binding

    global _linker
    number = next(_numbers)
    linker = _linker
    if linker is None or number % _LINKS == 0:
        machine = target_machine(host())
        linker = _linker = binding.create_lljit_compiler(machine, use_jit_link=False)
    builder = binding.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in exports:
        builder.export_symbol(name)
    linked = builder.link(linker, f"taper_{key}_{number}")
    # A tuple lets go of its last element first.
    return {name: linked[name] for name in exports}, (linker, linked)


def after_fork() -> None:
    """A child of fork keeps the code it inherited; only the lock may be in a wrong state."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)
