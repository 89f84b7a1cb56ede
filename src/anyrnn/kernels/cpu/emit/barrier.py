"""The barrier at which the threads of a kernel wait for each other."""

from __future__ import annotations

from anyrnn.kernels.cpu.emit.context import Context

SPINS = 4096  # before sched_yield


def wait(context: Context, passed: int, each_step: int) -> None:
    """Write barrier `passed` of a step, counted from 1, of `each_step` ones; threads that have rows
    of their own pass it.

    The counter only rises, so that no barrier has to be reset.
    """
    function, record = context.function, context.record
    barrier = context.word(record.barrier)
    shared = function.value(f"icmp ne ptr {barrier}, null", "shared")
    with function.when(shared, "barrier"):
        before = function.integer("mul", "%step", each_step)
        so_far = function.integer("add", before, passed)
        goal = function.integer("mul", so_far, context.word(record.threads))
        function.value(f"atomicrmw add ptr {barrier}, i64 1 seq_cst", "before")
        spin, again, rest, done = (
            function.name(f"spin.{part}") for part in ("look", "wait", "rest", "done")
        )
        before, count = function.block, function.name("spins")
        function.jump(spin)
        function.start(spin)
        function.emit(f"%{count} = phi i64 [0, %{before}], [%{count}.more, %{again}], [0, %{rest}]")
        seen = function.value(f"load atomic i64, ptr {barrier} acquire, align 8", "seen")
        complete = function.value(f"icmp sge i64 {seen}, {goal}", "complete")
        function.branch(complete, done, again)
        function.start(again)
        function.emit(f"%{count}.more = add nsw i64 %{count}, 1")
        tired = function.value(f"icmp eq i64 %{count}.more, {SPINS}", "tired")
        function.branch(tired, rest, spin)
        function.start(rest)  # the other thread may be waiting for this core
        function.value(f"call i32 {context.word(record.give_way)}()", "rested")
        function.jump(spin)
        function.start(done)
