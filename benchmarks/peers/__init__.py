"""Who is compared: a file for each library, with functions that make a `Run` of a case."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cases import (
    BFLOAT16,
    CUSTOM,
    DROPOUT,
    INT8,
    LENGTHS,
    LINEAR,
    MASK,
    MODES,
    OPTIONS,
    OTHER_LENGTHS,
    PACKED,
    PLAIN,
    STANDARD,
    SUBNORMAL,
    Case,
)
from benchmarks.models import BACKENDS, MODEL_MODES, MODEL_OPTIONS
from benchmarks.trainings import KERAS_TRAININGS, LOOPED_CELLS, TRAIN, TRAINING_CELLS, TRAININGS


@dataclass(frozen=True)
class Run:
    """A case in a library, compiled as far as the library can without running it.

    Attributes:
        call: (states) -> (results, new states), complete when it returns; this is what is timed.
        read: The results by name, as in `Case.reference`, as anything that NumPy takes.
        states: The first states.
    """

    call: Callable[[Any], tuple[Any, Any]]
    read: Callable[[Any], dict[str, Any]]
    states: Any = None


@dataclass(frozen=True)
class Peer:
    """A way to run a cell.

    Attributes:
        build: The module in this package, and its function (case, data) -> Run.
        needs: What has to be installed.
        seconds: About what making a run and its first calls take.
        cells: What it can run.
        options: Likewise.
        option_cells: The cells that it runs with options.
        modes: Likewise.
        steps: The largest number of steps that it is asked for, and why.
        beginning_first: Whether a call with two steps prepares a longer one, so that the memory of
            the longer one is without that of compiling and loading.
        environment: Variables that have to be set before the library is loaded.
        held: Whether it can be held to fewer of the CPU's instructions than it finds.
    """

    build: str
    needs: tuple[str, ...]
    seconds: float
    cells: tuple[str, ...] = STANDARD
    options: tuple[str, ...] = ()
    option_cells: tuple[str, ...] = STANDARD
    modes: tuple[str, ...] = MODES
    steps: tuple[float, str] = (float("inf"), "")
    beginning_first: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    held: bool = True

    @property
    def missing(self) -> list[str]:
        """What is not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def takes(self, case: Case) -> bool:
        """Whether it runs a case."""
        few = case.shape[1] <= self.steps[0]
        can = case.cell in self.cells
        if case.option not in ("", PLAIN):
            can = case.cell in self.option_cells and case.option in self.options
        return can and case.mode in self.modes and few

    def load(self) -> Callable[[Any, Any], Run]:
        """Import the library."""
        module, function = self.build.split(":")
        return getattr(importlib.import_module(f"benchmarks.peers.{module}"), function)


def _keras(backend: str, seconds: float, beginning_first: bool = False) -> Peer:
    cells = (*STANDARD, "gru_reset_before")
    return Peer(
        "keras_layers:build",
        ("keras", backend),
        seconds,
        cells,
        (DROPOUT, LENGTHS, MASK, SUBNORMAL),
        beginning_first=beginning_first,
        environment=_keras_environment(backend),
    )


def _keras_environment(backend: str) -> dict[str, str]:
    return {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}


def _model(whose: str, backend: str) -> Peer:
    return Peer(
        f"keras_models:{whose}",
        ("keras", backend),
        3,
        options=MODEL_OPTIONS,
        modes=MODEL_MODES,
        beginning_first=False,
        environment=_keras_environment(backend),
    )


def _keras_training(backend: str) -> Peer:
    return Peer(
        "keras_trainings:build",
        ("keras", backend, "torch", "lightning"),
        20,
        options=KERAS_TRAININGS,
        modes=(TRAIN,),
        beginning_first=False,
        environment=_keras_environment(backend),
    )


def _training(whose: str, cells: tuple[str, ...] = TRAINING_CELLS) -> Peer:
    return Peer(
        f"torch_trainings:{whose}",
        ("torch", "lightning"),
        8,
        options=tuple(TRAININGS),
        option_cells=cells,
        modes=(TRAIN,),
        beginning_first=False,
    )


OURS = "anyrnn"
OUR_PREPARED = "anyrnn prepared"  # for inference: packed weights and fixed places
OURS_PLAIN = "anyrnn plain"  # our layer without the option of a row
SGEMM = "sgemm"  # the rate that everything is held against
FLOOR = "products and a copy"  # what a linear cell cannot do without
BYPASSED = "training: no recurrent layers"
BASELINES = (OURS_PLAIN, SGEMM, FLOOR, BYPASSED)
SGEMM_SIZE = 1024
ALL = (*STANDARD, *CUSTOM, *LINEAR)
CHANGED = tuple(option for option in OPTIONS if option != PLAIN)
LOOPED = tuple(o for o in CHANGED if o not in (PACKED, BFLOAT16, INT8, OTHER_LENGTHS))
OPERATORS = (*STANDARD, "gru_reset_before", "lstm_peephole", "lstm_coupled")
UNROLLED = (28, "compiling unrolls the loop, which takes minutes for more steps")
OUR_MODEL, THEIR_MODEL = "model on {}: anyrnn", "model on {}: keras"
MODEL_PEERS = {
    name.format(backend): _model(whose, backend)
    for backend in BACKENDS
    for name, whose in ((OUR_MODEL, "ours"), (THEIR_MODEL, "theirs"))
}
OUR_TRAINING, TORCH_TRAINING, LOOP_TRAINING = (
    f"training: {whose}" for whose in ("anyrnn", "torch.nn", "torch loop")
)
KERAS_TRAINING = "training: keras on {}"
TRAINING_PEERS = {
    OUR_TRAINING: _training("ours"),
    TORCH_TRAINING: _training("torch_nn", STANDARD),
    LOOP_TRAINING: _training("torch_loop", LOOPED_CELLS),
    BYPASSED: _training("bypassed"),
    **{KERAS_TRAINING.format(backend): _keras_training(backend) for backend in BACKENDS},
}
LAYER_PEERS = {
    OURS: Peer("torch_layers:ours", ("torch",), 0.3, ALL, CHANGED),
    OUR_PREPARED: Peer("torch_layers:prepared", ("torch",), 0.3, ALL, modes=("inference",)),
    OURS_PLAIN: Peer("torch_layers:ours_plain", ("torch",), 0.3, (), CHANGED),
    "torch.nn": Peer(
        "torch_layers:layer",
        ("torch",),
        0.2,
        options=(LENGTHS, OTHER_LENGTHS, PACKED, BFLOAT16, SUBNORMAL),
    ),
    "torch.ao": Peer(
        "torch_layers:dynamic", ("torch",), 0.2, (), (INT8,), ("lstm", "gru"), ("inference",)
    ),
    "torch.nn cell": Peer("torch_layers:step", ("torch",), 0.1, steps=(1, "for single steps")),
    "torch loop": Peer("torch_loop:eager", ("torch",), 0.3, (*CUSTOM, *LINEAR), LOOPED),
    "torch.compile step": Peer("torch_compiled:step", ("torch",), 2.5, CUSTOM),
    "torch.compile loop": Peer(
        "torch_compiled:loop", ("torch",), 10, CUSTOM, steps=UNROLLED, beginning_first=False
    ),
    "jax scan": Peer("jax_scan:build", ("jax",), 0.6, ALL, LOOPED, beginning_first=False),
    "keras on jax": _keras("jax", 1.2),
    "keras on tensorflow": _keras("tensorflow", 0.7),
    "keras on torch": _keras("torch", 0.3, beginning_first=True),
    "onnxruntime": Peer(
        "onnx_runtime:build",
        ("onnx", "onnxruntime"),
        0.1,
        OPERATORS,
        (LENGTHS, SUBNORMAL),
        modes=("inference",),
        held=False,  # its kernels look at the CPU, and no setting of it says otherwise
    ),
    "onnxruntime int8": Peer(
        "onnx_runtime:dynamic",
        ("onnx", "onnxruntime"),
        0.1,
        (),
        (INT8,),
        ("lstm",),  # its only recurrent operator of int8
        ("inference",),
        held=False,
    ),
    SGEMM: Peer("torch_layers:sgemm", ("torch",), 0.1, ALL),
    FLOOR: Peer("torch_layers:products_and_copy", ("torch",), 0.1, LINEAR),
}
PEERS = {**LAYER_PEERS, **MODEL_PEERS, **TRAINING_PEERS}
