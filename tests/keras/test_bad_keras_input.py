"""What the layers for Keras say of mistakes: one line, with the way out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import anyrnn  # noqa: E402
from anyrnn import keras as ours  # noqa: E402
from anyrnn.errors import AnyrnnError  # noqa: E402
from checks import one_line  # noqa: E402

X = np.ones((2, 5, 3), "float32")


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, "float32")


def built() -> Any:
    layer = ours.LSTM(4)
    layer.build(X.shape)
    return layer


CASES: dict[str, tuple[Callable[[], object], str]] = {
    "activation": (
        lambda: ours.LSTM(4, activation="tahn"),
        "activation='tahn' is no activation of Keras; did you mean 'tanh'?",
    ),
    "second activation": (
        lambda: ours.GRUCell(4, "tanh", "??"),
        "recurrent_activation='??' is no activation of Keras; give a name or a function",
    ),
    "mask": (
        lambda: built()(X, mask=np.ones((2, 4), bool)),
        "the mask has shape (2, 4); expected (batch, time) = (2, 5)",
    ),
    "features": (
        lambda: built()(X[..., :2]),
        "the input has shape (2, 5, 2); expected (2, 5, 3)",
    ),
    "no steps": (
        lambda: built()(X[:, :0]),
        "the input has shape (2, 0, 3): a sequence length of 0; expected at least one step",
    ),
    "no steps with a function of one's own": (
        lambda: ours.GRU(4, activation=lambda x: x)(X[:, :0]),
        "the input has shape (2, 0, 3): a sequence length of 0; expected at least one step",
    ),
    "states": (
        lambda: built()(X, initial_state=[zeros(2, 4)]),
        "1 initial states are given; expected 2: h, c",
    ),
    "size of a state": (
        lambda: built()(X, initial_state=[zeros(2, 5), zeros(2, 4)]),
        "the state h has shape (2, 5); expected (2, 4)",
    ),
    "no model": (
        lambda: ours.replace_layers("model.keras"),  # type: ignore[type-var]
        "replace_layers takes a model or a layer of Keras, not a str",
    ),
    "no cell": (
        lambda: ours.Recurrent("lstn", 4),
        "no cell is called 'lstn'; nearest: lstm, minlstm, lstm_1997",
    ),
    "no units": (
        lambda: ours.Recurrent("lstm"),
        "cell 'lstm' needs units, the size of its hidden state",
    ),
    "units": (
        lambda: ours.Recurrent("lstm", 0),
        "units=0; expected a whole number of at least 1",
    ),
    "fewer units than none": (
        lambda: ours.Recurrent("lstm", -1),
        "units=-1; expected a whole number of at least 1",
    ),
    "a size": (
        lambda: ours.Recurrent("rnn_output", 4),
        "the size 'output' is not known; give output_size",
    ),
    "a size of the input": (
        lambda: ours.Recurrent("sru", 4)(X),
        "cell 'sru' needs hidden = input",
    ),
    "dropout": (
        lambda: ours.Recurrent("lstm", 4, recurrent_dropout=1.0),
        "recurrent_dropout=1.0; expected a probability, from 0 up to 1 without 1",
    ),
    "family": (
        lambda: ours.Recurrent("lstm", 4, regularizers={"Q": "l2"}),
        "regularizers has 'Q', which is no family of the cell 'lstm'; its families are: W, U, b",
    ),
    "a cell that is not known": (
        lambda: ours.Recurrent.from_config({"cell": "unheard", "units": 3}),
        "the cell 'unheard' is not known here; define it and load with custom_objects={'unheard': ",
    ),
    "two cells of a name": (
        lambda: ours.Recurrent(
            anyrnn.transforms.activations.with_activations(anyrnn.get("gru"), {"tanh": "relu"}), 3
        ).get_config(),
        "two cells are called 'gru'; tell them apart with "
        "keras.saving.register_keras_serializable(name='...')(cell)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_with_the_way_out(name: str) -> None:
    attempt, wanted = CASES[name]
    with pytest.raises(AnyrnnError, match=re.escape(wanted)) as caught:
        attempt()
    assert "\n" not in str(caught.value)


def test_weights_of_another_size() -> None:
    with pytest.raises(ValueError, match="not compatible with provided weight shape") as caught:
        built().set_weights([zeros(3, 3), zeros(4, 16), zeros(16)])
    assert "\n" not in str(caught.value)


def test_a_mask_that_keras_loop_cannot_take() -> None:
    layer = ours.Recurrent("rnn_output", 4, output_size=4, dtype="mixed_bfloat16")
    mask = np.ones((2, 5), bool)
    if keras.backend.backend() != "jax":
        assert layer(X, mask=mask).shape == (2, 4)
        return
    with pytest.raises(AnyrnnError, match="takes no mask for the cell 'rnn_output'") as caught:
        layer(X, mask=mask)
    assert str(caught.value).endswith(
        "the compiled path is not open: tensors of bfloat16; leave out the mask, or use another "
        "backend"
    )


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [
        (
            "keras",
            "anyrnn.keras needs 'keras', which is not installed; pip install 'anyrnn[keras]'",
        ),
        ("jax", "Keras' backend needs 'jax', which is not installed; install it, or name another"),
    ],
)
def test_what_is_not_installed(missing: str, wanted: str) -> None:
    code = (
        f"import os, sys\nsys.modules['{missing}'] = None\nos.environ['KERAS_BACKEND'] = 'jax'\n"
        "from anyrnn.errors import MissingExtraError\n"
        "try:\n    import anyrnn.keras\nexcept MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert done.stdout.startswith(wanted), done.stderr
    assert done.stdout.count("\n") == 1


KINDS: dict[str, Callable[..., Any]] = {
    "LSTM": ours.LSTM,
    "GRUCell": ours.GRUCell,
    "Recurrent": lambda *units, **options: ours.Recurrent("lstm", *units, **options),
}
WRONG: dict[str, tuple[Any, ...]] = {
    "units": ("5", 2.5, -1, 0, True, [4], float("nan"), 10**30, 2**40),
    "use_bias": ("no", 2.5, [], 7),
    "kernel_initializer": ("zero5", 2.5, [], object()),
    "recurrent_regularizer": ("l7", 2.5, []),
    "bias_constraint": ("abc", -1, []),
    "dropout": ("0.5", None, [0.5]),
    "recurrent_dropout": ("0.5", None, [0.5]),
    "seed": ("5", 2.5, [], 2**40),
    "dtype": ("float5", 2.5, []),
    "nonsense": (3,),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(kind: str, name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(AnyrnnError, match=name.removeprefix("recurrent_")) as error:
            KINDS[kind](**{"units": 4, name: value})
        one_line(error.value)


def test_arguments_of_a_layer() -> None:
    for name in ("return_sequences", "stateful", "unroll", "go_backwards"):
        for layer in (ours.LSTM, KINDS["Recurrent"]):
            with pytest.raises(AnyrnnError, match=name) as error:
                layer(4, **{name: "no"})
            one_line(error.value)
    for arguments in ((), (4, "tanh", "sigmoid", *[None] * 40)):
        with pytest.raises(AnyrnnError, match="LSTM") as error:
            ours.LSTM(*arguments)
        one_line(error.value)
    with pytest.raises(AnyrnnError, match="'units'"):
        ours.GRU(4, units=5)


def test_numpy_units_spoil_nothing() -> None:
    """A cell with a NumPy number as its size was kept, and taken for the next one of that size."""
    for units in (np.int64(11), 11):
        layer = ours.LSTM(units, return_sequences=np.bool_(True), unroll=0)
        assert layer(X).shape == (2, 5, 11)
        assert type(layer.get_config()["units"]) is int
