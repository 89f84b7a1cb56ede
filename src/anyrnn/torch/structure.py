"""What a recurrent layer is made of: cells with their sizes, on top of each other, in one direction
or two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, fields
from typing import Any

from anyrnn.errors import InputError, SizeError
from anyrnn.graph.cell import Cell
from anyrnn.torch.drop import recurrent_rows
from anyrnn.torch.states import form
from anyrnn.transforms import transform
from anyrnn.transforms.dropout import with_recurrent_dropout, with_zoneout

MERGES = ("concat", "sum", "mul", "mean")
Name = Callable[[str], str]


@dataclass(frozen=True)
class Options:
    """What a layer can do besides what torch.nn's can; keywords of its constructor.

    Attributes:
        merge: How the outputs of two directions become one: `concat`, `sum`, `mul` or `mean`.
        residual: Whether a layer's input is added to its output, where both have one size.
        highway: Whether a trained gate t mixes both, t * output + (1 - t) * input, where both have
            one size.
        learn_initial_state: Whether the initial states are parameters (`h_0_l0`), used where no
            state is given.
        input_dropout: The probability of dropping a feature of a layer's input for the whole
            sequence, in training.
        weight_dropout: The probability of dropping an element of a matrix between the old state
            and the new one for a whole call, in training.
        activations: Functions of the cell and those to take instead, as {"tanh": "relu"}.
        norm: `layer` or `rms`: normalisation inside the step.
        heads: The number of blocks of each recurrent matrix, which has nothing outside them.
        independent: Whether a unit sees of the old state itself only.
        clip_state: The bound of the states, or of some by name.
        clip_gradient: The bound of the gradient that goes back from step to step.
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
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise InputError(f"{name}={value!r}; expected True or False")
        for name in ("input_dropout", "weight_dropout"):
            value = getattr(self, name)
            if isinstance(value, bool | str) or not 0 <= value <= 1:
                raise InputError(f"{name}={value!r}; expected a probability, from 0 to 1")
        if self.residual and self.highway:
            raise InputError("residual=True and highway=True exclude each other; choose one")

    @classmethod
    def take(cls, given: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
        """The options among a constructor's keywords, and the other keywords."""
        names = {part.name for part in fields(cls)}
        rest = {name: value for name, value in given.items() if name not in names}
        return cls(**{name: value for name, value in given.items() if name in names}), rest

    def changed(self, cell: Cell, projected: bool = False) -> Cell:
        """The cell with what the options change of its equations.

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
        """The cell as it is in training, with what is left out at random.

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


@dataclass(eq=False)
class Opened:
    """A part's cell with more in its output.

    Attributes:
        cell: The cell.
        names: What its output holds, the part's own output first.
        sizes: Their sizes.
    """

    cell: Cell
    names: list[str]
    sizes: list[int]


@dataclass(eq=False)
class Part:
    """One layer in one direction.

    Attributes:
        cell: The cell.
        training_cell: The cell as it is in training.
        size_items: Its named sizes.
        layer: The place of the layer, from 0.
        direction: 0 forwards, 1 backwards.
        name: Gives what the module calls a stored parameter, without the layer.
    """

    cell: Cell
    training_cell: Cell
    size_items: tuple[tuple[str, int], ...]
    layer: int
    direction: int
    name: InitVar[Name]

    def __post_init__(self, name: Name) -> None:
        """Compute what calls read."""
        self.sizes = dict(self.size_items)
        self.state_sizes = [size.evaluate(self.sizes) for size in self.cell.state_sizes]
        self.output_size = self.cell.output_size.evaluate(self.sizes)
        self.suffix = f"_l{self.layer}" + "_reverse" * self.direction
        stored = [parameter.name for parameter in self.cell.parameters]
        self.names = {each: name(each) + self.suffix for each in stored}
        self.recurrent_rows: dict[str, list[tuple[int, int, bool]]] = {}
        self.opened: dict[tuple[str, bool], Opened] = {}
        self.initial_names = [f"{state}_0{self.suffix}" for state in self.cell.states]

    def like(self, other: Part) -> bool:
        """Whether the states of both can be stacked: one cell, one size."""
        return self.cell is other.cell and self.state_sizes == other.state_sizes


@dataclass(eq=False)
class Structure:
    """The parts of a layer.

    Attributes:
        layers: For each layer its directions.
        options: How they are put together.
    """

    layers: tuple[tuple[Part, ...], ...]
    options: Options

    def __post_init__(self) -> None:
        """Compute what calls read."""
        self.parts = tuple(part for layer in self.layers for part in layer)
        self.first, self.form = self.parts[0], form(self.layers)
        self.example = next(iter(self.first.names.values()), None)
        self.input_size = self.first.sizes["input"]
        options = self.options
        if options.weight_dropout:
            for part in self.parts:
                part.recurrent_rows = recurrent_rows(part, options.weight_dropout)
        self.drops = options.input_dropout > 0 or options.weight_dropout > 0
        self.drops |= any(part.cell is not part.training_cell for part in self.parts)
        self.skips = [self._skip(layer) for layer in self.layers]
        if (options.residual or options.highway) and not any(self.skips):
            option = "residual" if options.residual else "highway"
            sizes = ", ".join(
                f"{layer[0].sizes['input']} to {self.output_size(layer)}" for layer in self.layers
            )
            raise SizeError(
                f"{option}=True needs a layer whose output is as large as its input; the layers "
                f"make {sizes}"
            )
        self.bidirectional = any(len(layer) > 1 for layer in self.layers)
        if options.merge != "concat" and not self.bidirectional:
            raise InputError(
                f"merge='{options.merge}' joins two directions; it needs bidirectional=True"
            )
        self.single = len(self.parts) == 1 and not any(self.skips)

    def _skip(self, layer: Sequence[Part]) -> bool:
        """Whether the input of a layer goes past it."""
        wanted = self.options.residual or self.options.highway
        return wanted and layer[0].sizes["input"] == self.output_size(layer)

    def output_size(self, layer: Sequence[Part]) -> int:
        """The size of the output of a layer."""
        if self.options.merge == "concat":
            return sum(part.output_size for part in layer)
        return layer[0].output_size


def count_layers(num_layers: int | None, lists: Mapping[str, object]) -> int:
    """The number of layers.

    Args:
        num_layers: The number that was given, if any.
        lists: Options by name, some of which are lists with an element for each layer.

    Raises:
        SizeError: The numbers disagree, or it is none.
    """
    counts = {n: len(each) for n, each in lists.items() if isinstance(each, list)}
    whole = isinstance(num_layers, int) and not isinstance(num_layers, bool)
    if num_layers is not None and not (whole and num_layers >= 1):
        raise SizeError(f"num_layers={num_layers!r}; expected a whole number of at least 1")
    for name, count in counts.items():
        if not count:
            raise SizeError(f"{name}=[]; expected an element for each layer")
        wanted = num_layers or next(iter(counts.values()))
        if count != wanted:
            other = f"num_layers={num_layers}" if num_layers else f"{next(iter(counts))} {wanted}"
            raise SizeError(
                f"{name} has an element for each of {count} layers, but {other}; make them agree"
            )
    return num_layers or next(iter(counts.values()), 1)


def each_layer(value: Any, count: int) -> list[Any]:
    """A value for each layer: of a list its elements, else the same for all."""
    return value if isinstance(value, list) else [value] * count


def build(
    cells: Iterable[Sequence[Cell]],
    input_size: int,
    sizes: Sequence[Mapping[str, int | None]],
    options: Options,
    name: Name,
) -> Structure:
    """Put a layer together.

    Args:
        cells: For each layer the cell of each direction.
        input_size: The size of the first layer's input.
        sizes: For each layer the other named sizes that were given; names that a cell does not
            have are ignored, unless there is only one cell.
        options: How the layers are put together.
        name: What a stored parameter is called by the module, without the layer.

    Raises:
        SizeError: Sizes that are missing or contradict each other.
    """
    layers: list[tuple[Part, ...]] = []
    cells = [tuple(layer) for layer in cells]
    alone = len({cell for layer in cells for cell in layer}) == 1
    for place, (layer, given) in enumerate(zip(cells, sizes, strict=True)):
        parts = []
        for direction, cell in enumerate(layer):
            numbers = {
                key: number
                for key, number in given.items()
                if (not place and alone) or _chosen(cell, key)
            }
            bound = cell.bind_sizes(input=input_size, **numbers)
            trained = options.in_training(cell)
            cell = with_zoneout(cell, options.zoneout, expected=True)
            parts.append(Part(cell, trained, tuple(bound.items()), place, direction, name))
        made = {part.output_size for part in parts}
        if options.merge != "concat" and len(made) > 1:
            outputs = " and ".join(str(part.output_size) for part in parts)
            raise SizeError(
                f"merge='{options.merge}' needs outputs of one size; the directions of layer "
                f"{place} have {outputs}; use merge='concat'"
            )
        if alone and place and sizes[place] == sizes[0] and not parts[0].like(layers[0][0]):
            raise SizeError(
                f"cell '{layer[0].name}' has states as large as its input, and the second layer's "
                f"input is {input_size}, the first one's {layers[0][0].sizes['input']}; use "
                "num_layers=1, or one direction"
            )
        layers.append(tuple(parts))
        input_size = parts[0].output_size
        if options.merge == "concat":
            input_size = sum(part.output_size for part in parts)
    return Structure(tuple(layers), options)


def _chosen(cell: Cell, size: str) -> bool:
    """Whether a cell has a size, and it does not follow from the input."""
    return size in cell.sizes and "input" not in cell.sizes[size].names
