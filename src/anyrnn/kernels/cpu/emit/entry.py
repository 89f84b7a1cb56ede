"""The entry points of a kernel, for a team of threads and for one thread."""

from __future__ import annotations

from anyrnn.kernels.cpu.machine.processor import Processor

X86_FLUSH = 1 << 15 | 1 << 6  # of MXCSR: flush-to-zero, denormals-are-zero
ARM_FLUSH = 1 << 24  # of FPCR: flush-to-zero, for operands too


def _flushing(processor: Processor) -> str:
    """A function that calls `kernel` while subnormal numbers count as zero; what the thread had in
    its control register before is there again when it returns.
    """
    if processor.name == "neon":
        before = "%before = call i64 @llvm.aarch64.get.fpcr()"
        set_up = f"""%flushing = or i64 %before, {ARM_FLUSH}
  call void @llvm.aarch64.set.fpcr(i64 %flushing)"""
        restore = "call void @llvm.aarch64.set.fpcr(i64 %before)"
    else:
        before = """%saved = alloca i32
  %changed = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %saved)
  %before = load i32, ptr %saved"""
        set_up = f"""%flushing = or i32 %before, {X86_FLUSH}
  store i32 %flushing, ptr %changed
  call void @llvm.x86.sse.ldmxcsr(ptr %changed)"""
        restore = "call void @llvm.x86.sse.ldmxcsr(ptr %saved)"
    return f"""define internal void @flushing(ptr %record) {{
entry:
  {before}
  {set_up}
  call void @kernel(ptr %record)
  {restore}
  ret void
}}"""


def entry(size: int, processor: Processor) -> str:
    """LLVM IR of the entry points `enter` and `enter_alone`: each thread of a team finds its
    record, of `size` words, by its number, and calls `kernel` with it.

    Record 0 is the fallback if OpenMP grants fewer threads: thread 0 then computes everything.
    Subnormal numbers count as zero inside: some CPUs compute with them a hundred times more slowly.
    """
    return f"""{_flushing(processor)}

define void @enter(ptr %team) {{
entry:
  %number.function = load ptr, ptr %team
  %count.at = getelementptr i64, ptr %team, i64 1
  %count.function = load ptr, ptr %count.at
  %threads.at = getelementptr i64, ptr %team, i64 2
  %threads = load i64, ptr %threads.at
  %id.short = call i32 %number.function()
  %id = sext i32 %id.short to i64
  %count.short = call i32 %count.function()
  %count = sext i32 %count.short to i64
  %complete = icmp eq i64 %count, %threads
  %first = icmp eq i64 %id, 0
  %place = add i64 %id, 1
  %which = select i1 %complete, i64 %place, i64 0
  %offset = mul i64 %which, {size}
  %shifted = add i64 %offset, 3
  %record = getelementptr i64, ptr %team, i64 %shifted
  %work = or i1 %complete, %first
  br i1 %work, label %run, label %done
run:
  call void @flushing(ptr %record)
  br label %done
done:
  ret void
}}

define void @enter_alone(ptr %team) {{
entry:
  %record = getelementptr i64, ptr %team, i64 3
  call void @flushing(ptr %record)
  ret void
}}"""
