"""Kernels in executable memory: compiled by LLVM, or loaded from the cache on disk."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from anyrnn.errors import KernelError
from anyrnn.kernels import store
from anyrnn.kernels.cpu.machine.processor import LOCK, Processor, compiler

if TYPE_CHECKING:
    import llvmlite.binding as llvm

VARIABLE = "ANYRNN_OPTIMISE"  # `off`: compile ten times as fast, for tests of one's own cells
PASSES = {"loop_vectorization": False, "slp_vectorization": False}


@dataclass(frozen=True)
class Code:
    """Compiled code, which is unloaded when this is collected."""

    enter: int  # the address of the entry point of a team of threads
    enter_alone: int  # the address of that of one thread


def compile_text(text: str, target: Processor, label: str = "") -> Code:
    """Compile LLVM IR with the functions `enter` and `enter_alone`, or load the code from the
    cache, whose list calls it by the label.

    Raises:
        KernelError: LLVM refuses the IR, which is a mistake in anyrnn; no memory for code can be
            had; or llvmlite cannot be loaded.
    """
    with LOCK:
        # code generation settings that the IR does not show are part of the key
        key = store.key(text, repr((tuple(target), _levels(), PASSES)), _versions())
        stored = store.load(key)
        if stored is not None:
            with suppress(KernelError):
                return _link(stored)
        compiled = _compile(text, target)
        store.save(key, compiled, label, target.name)
        return _link(compiled)


def _levels() -> tuple[int, int]:
    """How far to optimise: the passes, and the generation of machine code."""
    return (0, 0) if os.environ.get(VARIABLE, "").strip().lower() == "off" else (2, 3)


@lru_cache(maxsize=1)
def _versions() -> str:
    llvm = compiler()
    import llvmlite

    return f"{llvmlite.__version__} {llvm.llvm_version_info}"


def _compile(text: str, target: Processor) -> bytes:
    """An object file."""
    module, machine = _optimize(text, target)
    return machine.emit_object(module)


def _optimize(text: str, target: Processor) -> tuple[llvm.ModuleRef, llvm.TargetMachine]:
    """A module after LLVM's passes, and the target machine that generates its code."""
    llvm = compiler()
    try:
        module = llvm.parse_assembly(text)
        module.triple = target.triple
        module.verify()
    except RuntimeError as error:
        raise KernelError(f"LLVM refuses a kernel: {error}") from error
    passes, generation = _levels()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=generation, codemodel="jitdefault"
    )
    options = llvm.create_pipeline_tuning_options(speed_level=passes)
    for name, value in PASSES.items():
        setattr(options, name, value)
    builder = llvm.create_pass_builder(machine, options)
    manager = builder.getModulePassManager()
    manager.run(module, builder)
    # llvmlite 0.50 frees none: the method that does is hidden by one of another base
    with suppress(AttributeError):
        llvm.newpassmanagers.NewPassManager._dispose(manager)
        manager.detach()
    return module, machine


def _link(compiled: bytes) -> Code:
    """Put an object file into executable memory."""
    llvm = compiler()
    library = llvm.JITLibraryBuilder().add_object_img(compiled).add_current_process()
    library.export_symbol("enter").export_symbol("enter_alone")
    try:
        linker = llvm.create_lljit_compiler(use_jit_link=os.name != "nt", suppress_errors=True)
        linked = library.link(linker, "kernel")
    except RuntimeError as error:
        raise KernelError(f"LLVM cannot link a kernel: {error}") from error
    code = Code(linked["enter"], linked["enter_alone"])
    weakref.finalize(code, _unlink, linked).atexit = False
    return code


def _unlink(linked: llvm.ResourceTracker) -> None:
    with LOCK:
        linked.close()
