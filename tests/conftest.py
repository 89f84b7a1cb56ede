"""Reproducible examples everywhere, and no time limit on a shared machine."""

import os

import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "anyrnn",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("explore", settings.get_profile("anyrnn"), derandomize=False)
settings.load_profile("anyrnn")
torch.set_num_threads(1)
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiling is most of what JAX does
