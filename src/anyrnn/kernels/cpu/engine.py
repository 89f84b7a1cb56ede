"""LLVM compiles the text of a kernel into this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

from anyrnn.errors import KernelError
from anyrnn.kernels.cpu.target import Target, initialize


@dataclass(frozen=True)
class Code:
    """Compiled code.

    Attributes:
        enter: The address that a team of threads enters.
        enter_alone: The address for one thread.
        keep: What must stay alive as long as the code is called.
    """

    enter: int
    enter_alone: int
    keep: Any


def compile_text(text: str, target: Target) -> Code:
    """Compile LLVM IR.

    Args:
        text: The module, with the functions `enter` and `enter_alone`.
        target: What to compile for.

    Returns:
        The code.

    Raises:
        KernelError: LLVM does not accept the text: a mistake in anyrnn.
    """
    initialize()
    try:
        module = llvm.parse_assembly(text)
        module.triple = target.triple
        module.verify()
    except RuntimeError as error:
        raise KernelError(f"LLVM refuses a kernel: {error}") from error
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, codemodel="jitdefault"
    )
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return Code(
        engine.get_function_address("enter"), engine.get_function_address("enter_alone"), engine
    )
