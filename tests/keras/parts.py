"""A process with one backend of Keras: it loads what takes long, and then only forks.

Each line of its input is a job: its folder, further variables, and either the arguments of pytest
or the names of programs. It answers with the exit code. What the job prints lies in its folder.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any

import alone  # noqa: F401
import keras
import pytest


def run(job: dict[str, Any]) -> int:
    """Do a job in the place of this process."""
    os.chdir(job["folder"])
    os.environ |= job["variables"]
    for name in ("stdout", "stderr"):
        with open(name, "wb") as file:
            os.dup2(file.fileno(), getattr(sys, name).fileno())
    if keras.config.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", "JAX_ENABLE_X64" in job["variables"])
    if "code" not in job:
        return int(pytest.main(job["arguments"]))
    sys.argv = ["-c", *job["arguments"]]
    exec(job["code"], {"__name__": "__main__"})
    return 0


gc.freeze()  # what is loaded stays
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run(json.loads(line))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
