"""The files of a run: written whole or not at all, read without pickle."""

import csv
import io
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch.overrides import TorchFunctionMode

from anyrnn.errors import RunError, WriteError, option_name
from anyrnn.files import reading, whole, writing

CONFIG = "config.json"

_LIBRARIES = ("anyrnn", "torch", "lightning", "torchmetrics", "tokenizers", "pandas")

T = TypeVar("T")
Network = TypeVar("Network", bound=torch.nn.Module)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of a run, whole or not at all.

    Raises:
        WriteError: The file cannot be written.
    """
    with writing(path), whole(path) as unfinished:
        unfinished.write_bytes(content)


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse to replace a file that is there, unless it is wanted.

    Raises:
        WriteError: There is one.
    """
    if path.exists() and not overwrite:
        raise WriteError(f"{path} exists; replace it with {option_name('overwrite', True)}")


def write_text(path: Path, text: str) -> None:
    """Write a file of text; a byte of a name that is no UTF-8 becomes an escape."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: object) -> None:
    """Write a value as readable JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write dictionaries of equal keys as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_weights(path: Path, network: torch.nn.Module) -> None:
    """Write the weights of a network as safetensors."""
    weights = {
        name: weight.detach().cpu().contiguous() for name, weight in network.state_dict().items()
    }
    write_bytes(path, save(weights))


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that a result depends on."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def reading_run(path: Path) -> AbstractContextManager[None]:
    """Tell in one line why a file of a run cannot be read.

    Raises:
        RunError: It cannot be.
    """
    return reading(path, RunError, "the run is damaged: {} is missing")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run.

    Raises:
        RunError: The file is missing, unreadable, or holds something else.
    """
    try:
        with reading_run(path):
            value = json.loads(path.read_text(encoding="utf-8"))
    except RunError:
        raise
    except (ValueError, RecursionError) as error:
        raise RunError(f"the run is damaged: {path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RunError(f"the run is damaged: {path} does not hold a JSON object")
    return value


def entry(config: Mapping[str, Any], name: str, kind: type[T], path: Path) -> T:
    """One entry of a configuration, of the type it has to have.

    Raises:
        RunError: It is missing or of another type.
    """
    value = config.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        what = "lacks it" if name not in config else f"has {value!r}"
        raise RunError(f"the run is damaged: {path} needs {name!r} ({kind.__name__}) but {what}")
    return value


def strings(config: Mapping[str, Any], name: str, path: Path) -> list[str]:
    """A list of different texts in a configuration.

    Raises:
        RunError: It is missing or something else.
    """
    values = entry(config, name, list, path)
    if not values or not all(isinstance(value, str) for value in values):
        raise RunError(f"the run is damaged: {path} needs a list of text under {name!r}")
    if len(set(values)) < len(values):
        raise RunError(f"the run is damaged: {path} names something twice under {name!r}")
    return values


def scales_of(config: Mapping[str, Any], count: int, path: Path) -> tuple[list[float], list[float]]:
    """The means and the deviations of a run.

    Args:
        config: Where they are.
        count: How many of each there have to be.
        path: The file that it comes from.

    Raises:
        RunError: They are missing or something else.
    """
    scales = [entry(config, name, list, path) for name in ("means", "deviations")]
    for scale in scales:
        numbers = all(type(value) in (int, float) for value in scale)
        if len(scale) != count or not numbers or not all(map(math.isfinite, scale)):
            raise RunError(f"the run is damaged: {path} needs {count} numbers as a scale")
    means, deviations = scales
    return means, deviations


def load_network(path: Path, make: Callable[[], Network], layers: int = 1) -> Network:
    """A network with the weights of a safetensors file.

    Args:
        path: The file.
        make: Makes the network as the configuration describes it.
        layers: How many layers that is, each with a weight or more.

    Raises:
        RunError: The file is missing or damaged, or its weights are not those of the network: then
            that was found by their shapes alone, before the network was made.
    """
    found = _shapes(path)
    if layers > len(found):
        raise RunError(
            f"the run is damaged: {path} has {len(found)} weights, too few for the {layers} layers "
            f"that {CONFIG} asks for"
        )
    with torch.device("meta"), without_drawing():
        _compare_shapes(path, make(), found)
    network = make()
    load_weights(path, network)
    return network


class without_drawing(TorchFunctionMode):
    """Draws no initial values: on the device meta there are none, and torch imports a compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def load_weights(path: Path, network: torch.nn.Module) -> None:
    """Fill a network with the weights of a safetensors file.

    Raises:
        RunError: The file is missing or damaged, or its weights are not those of the network.
    """
    _compare_shapes(path, network, _shapes(path))
    try:
        weights = load(path.read_bytes())
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"the run is damaged: {path} holds no weights: {error}") from None
    for name, value in weights.items():
        if not value.is_floating_point() or not value.isfinite().all():
            raise RunError(f"the run is damaged: in {path}, {name!r} holds what is no number")
    network.load_state_dict(weights)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes that the header of a safetensors file tells."""
    try:
        with reading_run(path), path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("it is cut off")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {name: tuple(tensor["shape"]) for name, tensor in header.items()}
    except RunError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise RunError(
            f"the run is damaged: {path} holds no weights in the format safetensors"
        ) from None


def _compare_shapes(
    path: Path, network: torch.nn.Module, found: Mapping[str, tuple[int, ...]]
) -> None:
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise RunError(
                f"the run is damaged: in {path}, {name!r} has the shape {found.get(name, 'none')}, "
                f"but {CONFIG} asks for {expected.get(name, 'none')}"
            )
