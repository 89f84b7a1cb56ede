"""The CPU: its vector instructions, and LLVM initialised for it."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

from anyrnn.errors import KernelError


class Processor(NamedTuple):
    """A kind of CPU to compile for."""

    name: str  # the kind: avx512, avx2, sse2, neon
    triple: str  # LLVM's name of the platform
    cpu: str  # LLVM's name of the CPU
    features: str  # LLVM's list of features
    bits: int  # the width of a vector register
    registers: int  # the number of vector registers
    bfloat16: bool = False  # has dot products of pairs of bfloat16, summed in float32

    @property
    def multiplies_bytes(self) -> bool:
        """Whether it has dot products of four bytes, summed in int32: AVX512-VNNI or AVX-VNNI."""
        found = self.features.split(",")
        return self.bits >= 256 and ("+avx512vnni" in found or "+avxvnni" in found)

    @property
    def masks(self) -> bool:
        """Whether masked loads and stores are as fast as others."""
        return self.bits == 512

    @property
    def fused(self) -> bool:
        """Whether it has a fused multiply-add."""
        return self.name != "sse2"

    def lanes(self, double: bool) -> int:
        """The number of elements in a vector register."""
        return self.bits // (64 if double else 32)


# One thread at a time is inside LLVM, and the process forks while none is: the child would inherit
# LLVM's locks without the thread that releases them.
LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release
    )


@lru_cache(maxsize=1)
def compiler() -> ModuleType:
    """LLVM, initialised for this machine: the module `llvmlite.binding`.

    Raises:
        KernelError: llvmlite is missing or broken.
    """
    try:
        with LOCK:  # nor does the process fork while a thread imports
            import llvmlite.binding as llvm

            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise KernelError(
            f"llvmlite, which compiles kernels, cannot be loaded ({reason}); install it again"
        ) from error
    return llvm


@lru_cache(maxsize=8)
def host(name: str | None = None) -> Processor:
    """The CPU of this machine, or a kind that it can play (`avx2`, `sse2`), for tests.

    Raises:
        KernelError: The CPU is of no known kind, or cannot run the one asked for; or llvmlite
            cannot be loaded.
    """
    llvm = compiler()
    with LOCK:
        triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features()
    if triple.startswith(("x86_64", "amd64", "i686")):
        kinds = {
            "avx512": (512, 32, features.get("avx512f", False) and features.get("avx512dq", False)),
            "avx2": (256, 16, features.get("avx2", False) and features.get("fma", False)),
            "sse2": (128, 16, features.get("sse2", False)),
        }
    elif triple.startswith(("aarch64", "arm64")):
        kinds = {"neon": (128, 32, True)}
    else:
        kinds = {}
    usable = [kind for kind, (_, _, there) in kinds.items() if there]
    chosen = usable[0] if usable and name is None else name
    if chosen not in usable:
        known, what = ", ".join(usable) or "none", "kernels" if chosen is None else chosen or "''"
        raise KernelError(f"this machine ({triple}) cannot run {what}; usable: {known}")
    bits, registers, _ = kinds[chosen]
    if chosen == usable[0]:
        pairs = chosen == "avx512" and features.get("avx512bf16", False)
        return Processor(chosen, triple, cpu, features.flatten(), bits, registers, pairs)
    plain = {"avx2": "+avx2,+fma", "sse2": "+sse2"}[chosen]
    return Processor(chosen, triple, "x86-64", plain, bits, registers)
