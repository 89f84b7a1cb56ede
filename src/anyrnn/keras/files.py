"""Conversion of weight files between Keras and safetensors, which PyTorch reads."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from anyrnn.errors import DataError, InputError, MissingExtraError
from anyrnn.files import whole
from anyrnn.keras.counterparts import constructor
from anyrnn.keras.exchange import Names, from_torch, pairs, to_arrays, torch_layers
from anyrnn.keras.weighted_layers import StateDictLayer, state_dict_layers

MODEL, WEIGHTS, SAFETENSORS = ".keras", ".weights.h5", ".safetensors"
CELLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "rnn": (keras.layers.SimpleRNN, {}),
    "rnn_relu": (keras.layers.SimpleRNN, {"activation": "relu"}),
    "lstm": (keras.layers.LSTM, {}),
    "gru": (keras.layers.GRU, {}),
    "gru_reset_before": (keras.layers.GRU, {"reset_after": False}),
}
"""The Keras layer of each of our cells that Keras has too, and its options."""

_POSSIBLE = {4: ("lstm",), 3: ("gru", "gru_reset_before"), 1: ("rnn", "rnn_relu")}
Conversion = tuple[list[tuple[str, str]], Callable[[Path], object]]
"""What the layers become, as `convert` returns it, and what writes the file."""

_STORED = re.compile(r"layers/(\w+?)(_\d+)?/(?:((?:for|back)ward)_layer/)?cell/vars/(\d)")


def convert(
    source: Path,
    target: Path,
    *,
    like: Path | None = None,
    names: Names | None = None,
    cell: str | None = None,
    overwrite: bool = False,
) -> list[tuple[str, str]]:
    """Convert a file of weights between Keras and PyTorch; see `to_torch` and `from_torch`.

    Args:
        source: A `.keras` or `.weights.h5` file of Keras, or a state_dict as `.safetensors`.
        target: The file to write, one of the other framework.
        like: A `.keras` file with the model whose weights they are, where the source does not say
            what layers there are; of its own weights nothing is kept. Not needed where there are
            recurrent layers only.
        names: What a layer is called in PyTorch, by its name in Keras, if not the same.
        cell: Which of `CELLS` it is, where neither file says.
        overwrite: Whether the target may exist.

    Returns:
        For each layer its name in Keras, and what it is in PyTorch.

    Raises:
        DataError: A file is missing, damaged or of another kind, or the target exists.
        InputError: The weights do not convert.
        MissingExtraError: h5py or safetensors is not installed.
    """
    endings = _ending(source), _ending(target)
    if endings.count(SAFETENSORS) != 1:
        raise DataError(
            f"{source} and {target} are files of one framework; one of them has to end in "
            f"{SAFETENSORS}, the other in {MODEL} or {WEIGHTS}"
        )
    if cell is not None and cell not in CELLS:
        raise InputError(f"no layer of Keras has the cell '{cell}'; known: {', '.join(CELLS)}")
    _check(source, target, overwrite)
    chosen = _to_keras if endings[0] == SAFETENSORS else _to_torch
    rows, write = chosen(source, like, names, cell)
    with _written(target, overwrite) as unfinished:
        write(unfinished)
    return rows


def _to_torch(source: Path, like: Path | None, names: Names | None, cell: str | None) -> Conversion:
    safetensors = _safetensors()
    if _ending(source) == MODEL:
        if like is not None or cell is not None:
            raise InputError(f"{source} says itself which layers it has; leave --like and --cell")
        model = _load_model(source)
    else:
        model = _model_of_weights(source, cell) if like is None else _model_like(like)
        _load_weights(model, source)
    arrays, layers = to_arrays(model, names), torch_layers(model, names)
    rows = []
    for prefix, parts in layers.items():
        own = ", ".join(dict.fromkeys(part.name for part in parts))
        rows.append((own, f"{prefix} = {constructor(parts)}" if prefix else constructor(parts)))
    content = safetensors.save(arrays)
    return rows, lambda path: path.write_bytes(content)


def _to_keras(source: Path, like: Path | None, names: Names | None, cell: str | None) -> Conversion:
    safetensors = _safetensors()
    try:
        loaded = safetensors.load(source.read_bytes())
        state_dict = dict(sorted(loaded.items()))  # safetensors gives them in a random order
    except Exception as error:  # of safetensors, of the system, or of a type that NumPy lacks
        raise DataError(f"{source} is no sound safetensors file: {_line(error)}") from None
    model = _model_of_state(source, state_dict, cell) if like is None else _model_like(like)
    rows = [(layer.name, _place(found)) for layer, found in pairs(model, state_dict, names)]
    from_torch(model, state_dict, names)
    return rows, lambda path: (model.save if _ending(path) == MODEL else model.save_weights)(path)


def _place(found: StateDictLayer) -> str:
    """The place of a layer in a state_dict, for the user."""
    number = [] if "weight" in found.directions[0] else [f"layer {found.number}"]
    return ", ".join([*([found.prefix] if found.prefix else []), *number]) or "weight"


def _model_like(like: Path) -> Any:
    if _ending(like) != MODEL:
        raise DataError(f"--like {like}: expected a {MODEL} file, which says what layers it has")
    return _load_model(like)


def _model_of_state(source: Path, state_dict: dict[str, Any], cell: str | None) -> Any:
    """A model of the recurrent layers that a state_dict holds, if it holds nothing else."""
    found = state_dict_layers(state_dict)
    other = [each for each in found if not {"weight_hh", "U"} & each.directions[0].keys()]
    if other or len({each.prefix for each in found}) > 1:
        which = f"holds {other[0]}" if other else "holds several recurrent layers"
        raise InputError(
            f"{source} {which}, and does not say in what order a model has its layers; give the "
            "model with --like MODEL.keras"
        )
    sizes, layers = [], []
    for each in found:
        arrays = each.directions[0]
        own = "W" in arrays
        sizes.append(arrays["W" if own else "weight_ih"].shape[1])
        recurrent = arrays["U" if own else "weight_hh"].T
        bias = "b" in arrays or "bias_ih" in arrays
        without = "" if own else "gru_reset_before"  # a GRU of torch.nn has one form
        given = recurrent, bias, len(each.directions), without
        layers.append(_layer(source, cell, *given, asked=own))
    return _model(layers, sizes[0])


def _model_of_weights(source: Path, cell: str | None) -> Any:
    """A model of the recurrent layers that a file of weights holds, if it holds nothing else."""
    found: dict[tuple[str, int], dict[str, list[Any]]] = {}
    for name, array in _stored(source).items():
        match = _STORED.fullmatch(name)
        if match is None:
            raise InputError(
                f"{source} holds {name}, and does not say what layers a model has; give the model "
                "with --like MODEL.keras"
            )
        kind, number, direction, _ = match.groups()
        directions = found.setdefault((kind, int((number or "_0")[1:])), {})
        directions.setdefault(direction or "", []).append(array)
    if len({kind for kind, _ in found}) > 1:
        raise InputError(
            f"{source} holds layers of several kinds, and does not say in what order; give the "
            "model with --like MODEL.keras"
        )
    sizes, layers = [], []
    for _, directions in sorted(found.items()):
        kernel, recurrent, *bias = next(iter(directions.values()))
        without = ""
        if bias:
            without = "gru_reset_before" if bias[0].ndim == 2 else "gru"
        sizes.append(len(kernel))
        layers.append(_layer(source, cell, recurrent, bool(bias), len(directions), without))
    return _model(layers, sizes[0])


def _model(layers: list[Any], inputs: int) -> Any:
    model = keras.Sequential(layers)
    model.build((None, None, inputs))
    return model


def _layer(
    source: Path,
    cell: str | None,
    recurrent: Any,
    bias: bool,
    directions: int,
    without: str,
    asked: bool = False,
) -> Any:
    """A Keras layer that the arrays of a file are for.

    Args:
        source: The file.
        cell: Which of `CELLS` it is, if the user says so.
        recurrent: Its recurrent kernel.
        bias: Whether it has biases.
        directions: The number of its directions.
        without: A cell that it is not.
        asked: Whether the user has to say which cell it is.
    """
    units, columns = recurrent.shape
    possible = [name for name in _POSSIBLE.get(columns // units, ()) if name != without]
    if cell is not None and cell not in possible:
        raise InputError(
            f"--cell {cell}: the sizes in {source} are those of {' or '.join(possible) or 'none'}"
        )
    if cell is None and (asked or len(possible) != 1):
        raise InputError(
            f"{source} does not say which cell it is for; add --cell, one of "
            f"{', '.join(possible or CELLS)}"
        )
    kind, options = CELLS[cell or possible[0]]
    dtype = str(recurrent.dtype)
    layer = kind(units, return_sequences=True, use_bias=bias, dtype=dtype, **options)
    return keras.layers.Bidirectional(layer, dtype=dtype) if directions == 2 else layer


def _load_model(path: Path) -> Any:
    _check_readable(path)
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no sound .keras file: it is no zip file")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever the file makes Keras do
        raise DataError(f"{path} cannot be read as a Keras model: {_line(error)}") from None


def _load_weights(model: Any, path: Path) -> None:
    stored, expected = len(_stored(path)), len(model.weights)
    try:
        model.load_weights(path)
    except Exception as error:  # whatever the file makes Keras do
        raise DataError(f"{path} does not fit the model: {_line(error)}") from None
    if stored != expected:
        raise DataError(f"{path} holds {stored} arrays of weights; the model has {expected}")


def _stored(path: Path) -> dict[str, Any]:
    """The arrays of weights of a file, without those of an optimiser."""
    try:
        import h5py
    except ImportError:
        raise MissingExtraError(
            f"{WEIGHTS} files need 'h5py', which is not installed; pip install h5py"
        ) from None
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        floating = isinstance(item, h5py.Dataset) and item.dtype.kind == "f"
        if floating and not name.startswith("optimizer/"):
            found[name] = item[()]

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except Exception as error:  # whatever a damaged file makes h5py do
        raise DataError(f"{path} is no sound {WEIGHTS} file: {_line(error)}") from None
    if not found:
        raise DataError(f"{path} holds no weights")
    return found


def _safetensors() -> Any:
    try:
        from safetensors import numpy
    except ImportError:
        raise MissingExtraError(
            f"{SAFETENSORS} files need 'safetensors', which is not installed; "
            "pip install safetensors"
        ) from None
    return numpy


def _ending(path: Path) -> str:
    for ending in (MODEL, WEIGHTS, SAFETENSORS):
        if path.name.endswith(ending):
            return ending
    hint = ""
    if path.suffix in (".pt", ".pth", ".bin"):
        hint = "; safetensors.torch.save_file(model.state_dict(), ...) writes the last"
    elif path.suffix == ".h5":
        hint = "; keras.saving.load_model(...).save('model.keras') writes the first"
    raise DataError(
        f"cannot tell what {path} is by its name; expected {MODEL}, {WEIGHTS} or {SAFETENSORS}"
        f"{hint}"
    )


def _check(source: Path, target: Path, overwrite: bool) -> None:
    _check_readable(source)
    if target.exists() and not (overwrite and target.is_file()):
        if target.is_dir():
            raise DataError(f"{target} is a folder; choose another name")
        raise _exists(target)
    if not target.absolute().parent.is_dir():
        raise DataError(f"cannot write {target}: there is no folder {target.parent}")


def _check_readable(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"there is no file {path}")


@contextmanager
def _written(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary name to write to; the file is renamed when it is complete."""
    try:
        with whole(path, _ending(path), replace=overwrite) as unfinished:
            yield unfinished
    except FileExistsError:
        raise _exists(path) from None
    except Exception as error:  # h5py and zipfile raise more than OSError where a disk is full
        reason = (isinstance(error, OSError) and error.strerror) or _line(error)
        raise DataError(f"cannot write {path}: {reason}") from None


def _exists(path: Path) -> DataError:
    return DataError(f"{path} exists; choose another name, or replace it with --overwrite")


def _line(error: Exception) -> str:
    """The first line of what a library says."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
