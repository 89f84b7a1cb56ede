"""Kernels for CPUs: LLVM IR from a schedule, compiled at run time."""
