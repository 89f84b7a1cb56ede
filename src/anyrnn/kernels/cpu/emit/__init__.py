"""The LLVM IR of kernels."""
