"""Reproducible examples everywhere, no time limit on a shared machine; how kernels are compiled,
and which process of several runs a test.
"""

import gc
import os
import sys
from functools import _lru_cache_wrapper

import pytest
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
# compiling is most of what JAX does
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

OPTIMISE = "ANYRNN_OPTIMISE"
USUAL = os.environ.setdefault(OPTIMISE, "off")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first, each test by itself, because the last test is waited for; of the
    rest each file in one process, so that no two compile the same. In a file what is compiled as
    for users comes last, because what is compiled quickly is forgotten then.
    """
    place = {path: number for number, path in enumerate(dict.fromkeys(i.path for i in items))}

    def order(item: pytest.Item) -> tuple[bool, int, bool]:
        long, users = (item.get_closest_marker(name) for name in ("long", "optimised"))
        return (long is None, 0 if long else place[item.path], users is not None)

    items.sort(key=order)
    for item in items:
        if not item.get_closest_marker("long") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compile as for users where a test is marked `optimised`, else quickly, if nothing else is
    said; what this process has compiled in the other way is forgotten.
    """
    wanted = "on" if item.get_closest_marker("optimised") else USUAL
    if os.environ[OPTIMISE] != wanted:
        os.environ[OPTIMISE] = wanted
        for name, module in [*sys.modules.items()]:
            if name.startswith("anyrnn.kernels"):
                for value in vars(module).values():
                    if isinstance(value, _lru_cache_wrapper):
                        value.cache_clear()
