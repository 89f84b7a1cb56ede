"""Files of our classes are Keras' own files."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import Any, TypeVar

import keras

from anyrnn.keras.activations import check

Class = TypeVar("Class", bound=type)
OPTIONS = ("activation", "recurrent_activation")


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
        given = {**dict(zip(("units", *OPTIONS), arguments, strict=False)), **named}
        for option in OPTIONS:
            check(option, given.get(option))
        construct(self, *arguments, **named)

    init.__signature__ = inspect.signature(construct)  # type: ignore[attr-defined] - Keras reads it
    made.__init__, made.__reduce__, made.__module__ = init, _reduce, "keras.layers"
    keras.saving.get_custom_objects()[cls.__name__] = cls
    return cls


def _reduce(self: Any) -> tuple[Any, ...]:
    """As Keras pickles a layer: as a file; without its class, which pickle would look for."""
    return keras.Layer._unpickle_model, keras.Layer.__reduce__(self)[1]
