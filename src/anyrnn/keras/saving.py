"""Serialisation: drop-in layers under Keras' names, cells under registered names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import keras

from anyrnn.cells.catalogue import CATALOGUE
from anyrnn.errors import CellError, UnknownCellError
from anyrnn.graph.cell import Cell
from anyrnn.keras.arguments import by_name, checked, told

Class = TypeVar("Class", bound=type)


def as_keras_own(cls: Class) -> Class:
    """Have a subclass of one of Keras' layers be saved as that layer, and take its arguments.

    A file then names `keras.layers` as the module, and the class by its name: Keras by itself finds
    its own class there, and where `anyrnn.keras` is imported, the name stands for the subclass.

    Args:
        cls: The subclass, which is called as its base.

    Returns:
        The class.
    """
    made: Any = cls
    construct = made.__init__

    @wraps(construct)
    def init(self: Any, *arguments: Any, **named: Any) -> None:
        given = checked(by_name(construct, cls.__name__, arguments, named))
        with told(cls.__name__):
            construct(self, **given)

    init.__signature__ = inspect.signature(construct)  # type: ignore[attr-defined] - Keras reads it
    made.__init__, made.__reduce__, made.__module__ = init, _reduce, "keras.layers"
    keras.saving.get_custom_objects()[cls.__name__] = cls
    return cls


def _reduce(self: Any) -> tuple[Any, ...]:
    """Pickle as Keras does, as a file; but without the class, which pickle would look up."""
    return keras.Layer._unpickle_model, keras.Layer.__reduce__(self)[1]


_seen: WeakValueDictionary[str, Cell] = WeakValueDictionary()


def name_of_cell(cell: Cell) -> str:
    """The name of a cell in a configuration: the one in the catalogue, the one that it is
    registered with Keras under, or its own.

    Args:
        cell: The cell.

    Returns:
        The name.

    Raises:
        CellError: Its own name stands for another cell too.
    """
    registered = keras.saving.get_custom_objects().items()
    names = [name for name, found in registered if found is cell]
    if names:
        return names[0]
    if CATALOGUE.get(cell.name, _seen.setdefault(cell.name, cell)) is not cell:
        raise CellError(
            f"two cells are called '{cell.name}'; tell them apart with "
            "keras.saving.register_keras_serializable(name='...')(cell)"
        )
    return cell.name


def cell_of_name(name: str | Cell, custom_objects: Mapping[str, Any] | None = None) -> Cell:
    """The cell that a configuration names.

    Args:
        name: What `name_of_cell` has given; or a cell itself.
        custom_objects: Further objects by name.

    Returns:
        The cell.

    Raises:
        UnknownCellError: It is neither in the catalogue nor registered.
    """
    if isinstance(name, Cell):
        return name
    found = (
        keras.saving.get_registered_object(name, custom_objects)
        or CATALOGUE.get(name)
        or _seen.get(name)
    )
    if not isinstance(found, Cell):
        raise UnknownCellError(
            f"the cell '{name}' is not known here; define it and load with "
            f"custom_objects={{'{name}': the_cell}}"
        )
    return found


class CellSerialisation:
    """A mixin for classes that are configured with one of our cells; comes before Keras' class."""

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Make the object that a configuration describes.

        Args:
            config: What `get_config` has given.
            custom_objects: Objects by name, the cell among them where it is registered nowhere.

        Raises:
            UnknownCellError: The cell is not known here.
        """
        made: Any = cls
        return made(**{**config, "cell": cell_of_name(config["cell"], custom_objects)})
