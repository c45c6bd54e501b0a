"""The processor that code is generated for: vector width, registers, cache sizes.

TAPER_TARGET=avx512|avx2|neon|sse2 restricts it, so that the code for a smaller processor can be
tested on a larger one (a larger one than the processor has would stop at the first instruction).
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

# Name -> (bytes of a vector, vector registers, features switched on, features switched off).
_TARGETS: dict[str, tuple[int, int, str, str]] = {
    "avx512": (64, 32, "avx512f,avx512bw,avx512dq,avx512vl", ""),
    "avx2": (32, 16, "avx2,fma", "avx512f"),
    "sse2": (16, 16, "", "avx,avx2,avx512f,fma"),
    "neon": (16, 32, "", ""),
}


@dataclass(frozen=True)
class Machine:
    """What the generators must know of a processor. Sizes are in bytes."""

    target: str
    vector: int
    registers: int
    triple: str
    cpu: str
    features: str
    has_bf16_dot: bool = False
    l1: int = 32 << 10
    l2: int = 1 << 20

    def lanes(self, itemsize: int) -> int:
        """Elements of a vector."""
        return self.vector // itemsize


def _restricted(features: dict[str, bool], target: str) -> str:
    off = set(_TARGETS[target][3].split(",")) - {""}
    wanted = {
        name: on
        and not any(name == o or (o == "avx512f" and name.startswith("avx512")) for o in off)
        for name, on in features.items()
    }
    return ",".join(("+" if on else "-") + name for name, on in sorted(wanted.items()))


@functools.cache
def host() -> Machine:
    """This machine's processor, or the part of it that TAPER_TARGET names.

    Raises: ValueError for a target that is not known.
    """
    from llvmlite import binding

    start_llvm()
    triple = binding.get_process_triple()
    features = dict(binding.get_host_cpu_features())
    if triple.startswith(("aarch64", "arm64")):
        best = "neon"
    elif features.get("avx512f") and features.get("avx512dq") and features.get("avx512vl"):
        best = "avx512"
    elif features.get("avx2") and features.get("fma"):
        best = "avx2"
    else:
        best = "sse2"
    target = os.environ.get("TAPER_TARGET") or best
    if target not in _TARGETS:
        raise ValueError(
            f"TAPER_TARGET is {target!r}; choose from {', '.join(sorted(_TARGETS))} (this processor: "
            f"{best})"
        )
    vector, registers, _, _ = _TARGETS[target]
    # A CPU name implies its features: a restricted target must not have it.
    cpu = (
        binding.get_host_cpu_name() if target == best else "generic" if best == "neon" else "x86-64"
    )
    return Machine(
        target=target,
        vector=vector,
        registers=registers,
        triple=triple,
        cpu=cpu,
        features=_restricted(features, target),
        has_bf16_dot=target == "avx512" and bool(features.get("avx512bf16")),
        l1=cache_size(1, 32 << 10),
        l2=cache_size(2, 1 << 20),
    )


def cross(target: str, triple: str) -> Machine:
    """Another processor, to see that the code for it compiles: cross("neon", "aarch64-linux-gnu")."""
    vector, registers, on, _ = _TARGETS[target]
    features = ",".join("+" + f for f in on.split(",") if f)
    return Machine(target, vector, registers, triple, "generic", features)


def cache_size(level: int, otherwise: int) -> int:
    """Bytes of the data cache of a level, as Linux tells."""
    folder = "/sys/devices/system/cpu/cpu0/cache"
    try:
        for index in sorted(os.listdir(folder)):
            here = os.path.join(folder, index)
            with open(os.path.join(here, "level")) as file:
                found = int(file.read())
            with open(os.path.join(here, "type")) as file:
                kind = file.read().strip()
            if found == level and kind in ("Data", "Unified"):
                with open(os.path.join(here, "size")) as file:
                    return int(file.read().strip().rstrip("K")) << 10
    except (OSError, ValueError):
        pass
    return otherwise


@functools.cache
def start_llvm() -> None:
    """Initialises LLVM's code generators, once."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()


def target_machine(machine: Machine) -> Any:
    """LLVM's code generator for the machine. Level 2: 1 is no faster to compile, 0 runs far slower."""
    from llvmlite import binding

    start_llvm()
    return binding.Target.from_triple(machine.triple).create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=2, reloc="pic", codemodel="default"
    )
