"""The machine: CPU, compiler, threads, memory."""
