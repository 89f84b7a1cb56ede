"""What a call runs: the kernels and copies of a run, written once for its sizes."""
