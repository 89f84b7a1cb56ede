"""How libraries are run: on how many cores, with which of the CPU's instructions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

# what holds libraries to older instructions than the CPU has, by the kind of CPU
HELD: dict[str, Mapping[str, str]] = {
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",  # of torch and of TensorFlow
        "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels, and what torch.compile writes
        "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",  # what its compiler makes of that
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # on CPUs of Intel; on others MKL uses no AVX-512
        "OPENBLAS_CORETYPE": "Haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    }
}


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Conditions:
    """How a library is run.

    Attributes:
        threads: The number of its threads, and of cores that its process may use.
        isa: A name in `HELD` that it is held to; None for all that the CPU has.
    """

    threads: int
    isa: str | None = None

    def environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """The variables of a process, which have to be set before it starts.

        Args:
            own: What the library needs besides.
        """
        found = {**os.environ, "OMP_NUM_THREADS": str(self.threads), **own}
        for name, value in HELD.get(self.isa or "", {}).items():
            given = os.environ.get(name) if name == "XLA_FLAGS" else None  # a list of options
            found[name] = f"{given} {value}" if given else value
        return found

    def enter(self) -> None:
        """Hold this process to the cores, the last ones, and our kernels to the instructions."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-self.threads :])
        if self.isa is not None:
            from anyrnn.kernels.cpu.machine.processor import host
            from anyrnn.kernels.cpu.target import CPU
            from anyrnn.kernels.target import register

            register(CPU(host(self.isa)))
