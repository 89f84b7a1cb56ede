"""From source text to functions of Triton, which is imported when it is first needed."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import subprocess
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from anyrnn.kernels.gpu.source import LoopSource

WARPS = {"cuda": 8, "hip": 4}  # AMD's have twice as many threads, and with 8 too few registers
STAGES = 1  # of loops that do not say it: one over time must not read ahead
OLDEST = 80  # the compute capability that kernels need, times ten
# What Triton raises where it cannot start: no GPU, no compiler of C for its driver, no header files
# of Python, no folder that it may write to.
NO_DRIVER = RuntimeError, OSError, ImportError, AssertionError, subprocess.SubprocessError


def triton() -> Any:
    """The package."""
    return importlib.import_module("triton")


@lru_cache(maxsize=1)
def missing() -> str | None:
    """Why there is no Triton; None if there is."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install 'anyrnn[gpu]')"
    return None


def interpreted() -> bool:
    """Whether Triton's interpreter runs kernels, on a CPU."""
    return bool(triton().knobs.runtime.interpret)


@lru_cache(maxsize=1)
def version() -> str:
    """The version of Triton."""
    return str(triton().__version__)


def options(backend: str) -> dict[str, Any]:
    """What kernels are compiled with for a maker's GPUs, as Triton calls these."""
    # multiplication and addition may be one operation; Triton's default changes with its version
    return {"num_warps": WARPS[backend], "num_stages": STAGES, "enable_fp_fusion": True}


@lru_cache(maxsize=1)
def own_options() -> dict[str, Any]:
    """The options for the GPUs of this machine."""
    try:
        return options(triton().runtime.driver.active.get_current_target().backend)
    except NO_DRIVER:  # there is none, as where Triton's interpreter runs kernels
        return options("cuda")


@lru_cache(maxsize=512)
def functions(text: str, interpreted: bool) -> dict[str, Any]:
    """The kernels of a source text by name; of the same text always the same.

    Args:
        text: The text.
        interpreted: Whether they are for Triton's interpreter.
    """
    package, helpers = triton(), importlib.import_module("anyrnn.kernels.gpu.device_functions")
    file = f"<anyrnn kernel {sha256(text.encode()).hexdigest()[:16]}>"
    # Triton reads a function's source as Python's inspect finds it
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names = {name: getattr(helpers, name) for name in helpers.__all__}
    space: dict[str, Any] = {"triton": package, "tl": package.language, **names}
    space["__name__"] = "anyrnn.kernels.gpu.generated"
    exec(compile(text, file, "exec"), space)
    return {name: found for name, found in space.items() if name not in names}


@lru_cache(maxsize=8)
def refusal(device: str) -> str | None:
    """Why Triton cannot run kernels on a type of device; None if it can."""
    found = missing()
    if found is not None:
        return found
    if interpreted():
        return None if device == "cpu" else f"Triton's interpreter does not run on {device}"
    if device == "cpu":
        return "Triton runs on a CPU with TRITON_INTERPRET=1 only"
    try:
        target = triton().runtime.driver.active.get_current_target()
    except NO_DRIVER as error:
        said = " ".join(f"{error}".split())
        return f"Triton cannot use the GPU ({said if len(said) < 200 else said[:200] + ' ...'})"
    if target.backend == "cuda" and target.arch < OLDEST:
        own, needed = (f"{arch // 10}.{arch % 10}" for arch in (target.arch, OLDEST))
        return f"a GPU of compute capability {own}; Triton's kernels need {needed}"
    return None


class Machine(NamedTuple):
    """A kind of GPU that code is compiled for, whether or not there is one."""

    backend: str
    architecture: int | str
    warp: int

    @property
    def name(self) -> str:
        """As its maker calls it."""
        return f"sm_{self.architecture}" if self.backend == "cuda" else str(self.architecture)


MACHINES = (
    Machine("cuda", 80, 32),
    Machine("cuda", 90, 32),
    Machine("cuda", 100, 32),
    Machine("hip", "gfx942", 64),
)


def compiled(source: LoopSource, kernel: str, machine: Machine) -> Any:
    """A kernel compiled for a kind of GPU.

    Args:
        source: The source of its loop.
        kernel: The name of the kernel.
        machine: The kind of GPU.

    Returns:
        What Triton's compiler returns; its `asm` has each form of the code by name.
    """
    package = triton()
    made = functions(source.text, interpreted())[kernel]
    element = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}[source.form.element]
    types: dict[str, str] = {}
    for name in made.arg_names:
        types[name] = "i32"
    types |= dict.fromkeys(("offsets", "lengths", "seed"), "*i64")
    types = {name: kind for name, kind in types.items() if name in made.arg_names}
    layout = source.layout
    for array in layout.arguments:
        types[array.name] = f"*{element}"
    for array in layout.wide:
        types[array.name] = "*fp32"
    constants = {(made.arg_names.index(array.strides[1]),): 1 for array in layout.matrices}
    types |= {array.strides[1]: "constexpr" for array in layout.matrices}
    aligned = all(size % 16 == 0 for size in layout.sizes.values())
    attributes = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(made.arg_names)
        if types[name].startswith("*") or (aligned and name.endswith("_row"))
    }
    given = package.compiler.ASTSource(made, types, constants, attributes)
    target = package.backends.compiler.GPUTarget(*machine)
    return package.compile(given, target=target, options=options(machine.backend))
