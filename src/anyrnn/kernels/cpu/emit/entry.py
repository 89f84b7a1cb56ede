"""The entry points of a kernel, for a team of threads and for one thread."""

from __future__ import annotations


def entry(size: int) -> str:
    """LLVM IR of the entry points `enter` and `enter_alone`: each thread of a team finds its
    record, of `size` words, by its number, and calls `kernel` with it.

    Record 0 is the fallback if OpenMP grants fewer threads: thread 0 then computes everything.
    """
    return f"""define void @enter(ptr %team) {{
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
  call void @kernel(ptr %record)
  br label %done
done:
  ret void
}}

define void @enter_alone(ptr %team) {{
entry:
  %record = getelementptr i64, ptr %team, i64 3
  call void @kernel(ptr %record)
  ret void
}}"""
