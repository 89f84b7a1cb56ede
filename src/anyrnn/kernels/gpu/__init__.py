"""The target of GPUs: Triton kernels."""
