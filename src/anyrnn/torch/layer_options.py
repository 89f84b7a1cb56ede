"""The options that layers have besides those of torch.nn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.transforms import transform
from anyrnn.transforms.dropout import with_recurrent_dropout, with_zoneout
from anyrnn.transforms.option_values import check_probability

MERGES = ("concat", "sum", "mul", "mean")


def check_flag(option: str, value: object) -> bool:
    """Check that an option is true or false.

    Raises:
        InputError: It is neither.
    """
    if not isinstance(value, bool):
        raise InputError(f"{option}={value!r}; expected True or False")
    return value


@dataclass(frozen=True)
class Options:
    """Options of a layer besides those of torch.nn: keywords of its constructor.

    Attributes:
        merge: How the outputs of two directions are joined: `concat`, `sum`, `mul` or `mean`.
        residual: Whether a layer's input is added to its output, where both have one size.
        highway: Whether a trained gate t mixes both, t * output + (1 - t) * input, where both have
            one size.
        learn_initial_state: Whether the initial states are parameters (`h_0_l0`), used where no
            state is given.
        input_dropout: The probability of dropping a feature of a layer's input for the whole
            sequence, in training.
        weight_dropout: The probability of dropping an element of a matrix between the old state
            and the new one for a whole call, in training.
        activations: Replacements for functions of the cell, as {"tanh": "relu"}.
        norm: `layer` or `rms`: normalisation inside the step.
        heads: The number of blocks of each recurrent matrix, which is block diagonal.
        independent: Whether recurrent matrices are diagonal: a unit sees its own old state only.
        clip_state: The bound of the states, or of some by name.
        clip_gradient: The bound of the gradient between steps, elementwise.
        recurrent_dropout: The probability of dropping a unit of what the recurrent matrices
            multiply, with one mask for the whole sequence, in training.
        zoneout: The probability that a unit of a state keeps its old value at a step, in training;
            of all states, or of some by name.
    """

    merge: str = "concat"
    residual: bool = False
    highway: bool = False
    learn_initial_state: bool = False
    input_dropout: float = 0.0
    weight_dropout: float = 0.0
    activations: Mapping[str, str] | None = None
    norm: str | None = None
    heads: int = 1
    independent: bool = False
    clip_state: float | Mapping[str, float] | None = None
    clip_gradient: float | None = None
    recurrent_dropout: float = 0.0
    zoneout: float | Mapping[str, float] = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: One is not what it can be.
        """
        if self.merge not in MERGES:
            raise InputError(f"merge={self.merge!r}; expected one of: {', '.join(MERGES)}")
        for name in ("residual", "highway", "learn_initial_state"):
            check_flag(name, getattr(self, name))
        for name in ("input_dropout", "weight_dropout"):
            check_probability(name, getattr(self, name))
        if self.residual and self.highway:
            raise InputError("residual=True and highway=True exclude each other; choose one")

    @classmethod
    def names(cls) -> list[str]:
        """The names of the options."""
        return [part.name for part in fields(cls)]

    @classmethod
    def take(cls, given: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
        """Split a constructor's keywords into these options and the others."""
        names = cls.names()
        rest = {name: value for name, value in given.items() if name not in names}
        return cls(**{name: value for name, value in given.items() if name in names}), rest

    def changed(self, cell: Cell, projected: bool = False) -> Cell:
        """The cell with the equations that the options ask for.

        Args:
            cell: A cell.
            projected: Whether its first state is projected, where it is not by its own equations.

        Raises:
            CellError: An option is not what it can be, or not for this cell.
        """
        return transform(
            cell,
            activations=self.activations,
            norm=self.norm,
            heads=self.heads,
            independent=self.independent,
            projection=projected and "projection" not in cell.sizes,
            clip_state=self.clip_state,
            clip_gradient=self.clip_gradient,
        )

    def in_training(self, cell: Cell) -> Cell:
        """The cell in training, with zoneout and recurrent dropout.

        Raises:
            CellError: A rate is no probability, or not for this cell.
        """
        return with_recurrent_dropout(with_zoneout(cell, self.zoneout), self.recurrent_dropout)

    def __str__(self) -> str:
        """Those that differ from their defaults, each after a comma."""
        return "".join(
            f", {part.name}={getattr(self, part.name)}"
            for part in fields(self)
            if getattr(self, part.name) != part.default
        )
