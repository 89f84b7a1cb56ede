"""`anyrnn convert IN OUT`: weights of Keras for PyTorch, and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from anyrnn.cli.terminal import say_table
from anyrnn.errors import InputError


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A .keras, .weights.h5 or .safetensors file.", show_default=False
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="The file to write, of the other framework.", show_default=False
        ),
    ],
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.keras",
            help="The Keras model whose weights they are, where IN does not say what layers there "
            "are.",
            show_default="recurrent layers only",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KERAS=TORCH",
            help="What a layer is called in PyTorch; may be repeated.",
            show_default="the same name",
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="rnn, rnn_relu, lstm, gru or gru_reset_before, where no file says which.",
            show_default="as the files say",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Convert weights of RNN, LSTM and GRU layers between Keras and PyTorch, with the Dense and
    Embedding layers around them.

    [bold]Example:[/bold] anyrnn convert model.keras model.safetensors
    """
    names = {}
    for pair in name or []:
        ours, separator, theirs = pair.partition("=")
        if not (ours and separator):
            raise InputError(f"--name {pair}: expected KERAS=TORCH, as in --name lstm=encoder")
        if names.get(ours, theirs) != theirs:
            raise InputError(f"--name {pair}: the layer {ours!r} is called {names[ours]!r} already")
        names[ours] = theirs
    # Weights are only read and written here: no framework has to be loaded for it.
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow speaks of it when Keras asks
    from anyrnn.keras import files

    rows = files.convert(source, target, like=like, names=names, cell=cell, overwrite=overwrite)
    say_table(("Keras", "PyTorch"), rows)
