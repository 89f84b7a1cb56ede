"""A layer of any cell, with the conventions of Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from anyrnn.cells.catalogue import get
from anyrnn.errors import InputError, SizeError
from anyrnn.graph.cell import Cell
from anyrnn.graph.interpret import DRAW, evaluate
from anyrnn.graph.parameters import StoredParameter, split_parameters
from anyrnn.graph.roles import Role, matrices
from anyrnn.keras.arguments import check_units, checked, told
from anyrnn.keras.cells import CellAdapter, CellParts
from anyrnn.keras.compiled_layer import CompiledLayer
from anyrnn.keras.keras_ops import KERAS
from anyrnn.keras.saving import CellSerialisation, name_of_cell
from anyrnn.transforms.bias import biases, without_bias
from anyrnn.transforms.dropout import with_recurrent_dropout
from anyrnn.transforms.option_values import check_rate

DEFAULTS = {"kernel": "glorot_uniform", "recurrent": "orthogonal", "bias": "zeros"}
ROLES = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}


def kind(cell: Cell, stored: StoredParameter) -> str:
    """The kind of a parameter, which says which of Keras' options apply.

    Args:
        cell: The cell.
        stored: One of its parameters.

    Returns:
        `recurrent` where one of its matrices has the role `RECURRENT`, `kernel` for other
        matrices, `bias` for a vector.
    """
    if not stored.is_matrix:
        return "bias"
    recurrent = matrices(cell, Role.RECURRENT)
    return "kernel" if recurrent.isdisjoint(stored.members) else "recurrent"


@keras.saving.register_keras_serializable("anyrnn")
class RecurrentCell(CellSerialisation, keras.Layer, DropoutRNNCell, CellAdapter):
    """One step of any cell, for `anyrnn.keras.RNN`, or Keras' own RNN.

    Args:
        cell: A cell, or the name of one in the catalogue.
        units: The size of the hidden state.
        use_bias: Whether the cell keeps its biases.
        unit_forget_bias: Whether the biases of gates that are called f start with one.
        dropout: The probability of dropping a feature of the input, for a whole call.
        recurrent_dropout: The probability of dropping a unit of what recurrent matrices multiply,
            for a whole call.
        seed: What the random numbers follow from.
        initializers: By the name of a family, how its parameters start.
        regularizers: By the name of a family, its penalty.
        constraints: By the name of a family, its constraint.
        **options: `kernel_initializer` (`glorot_uniform`) for the matrices of the input, of
            projections and of output layers, `recurrent_initializer` (`orthogonal`) for recurrent
            ones, `bias_initializer` (`zeros`) for vectors; the same with `_regularizer` and
            `_constraint`; further sizes (`output_size=10`), hyperparameters, and those of a layer
            of Keras.

    Raises:
        UnknownCellError: No cell of that name.
        SizeError: A size is missing, or contradicts the equations.
        InputError: A probability is none, or there is no family of a name.

    Example:
        >>> import keras
        >>> from anyrnn.keras import RecurrentCell
        >>> layer = keras.layers.RNN(RecurrentCell("lstm_peephole", 5))
        >>> tuple(layer(keras.ops.ones((2, 7, 3))).shape)
        (2, 5)
    """

    def __init__(
        self,
        cell: str | Cell,
        units: int | None = None,
        *,
        use_bias: bool = True,
        unit_forget_bias: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        initializers: Mapping[str, Any] | None = None,
        regularizers: Mapping[str, Any] | None = None,
        constraints: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        base = get(cell)
        roles_of = [f"{name}_{role}" for name in DEFAULTS for role in ROLES]
        base.check_options([RecurrentCell.__init__, Recurrent.__init__], [*roles_of, *OWN])
        roles: dict[str, dict[str, Any]] = {}
        for role, named in zip(ROLES, (initializers, regularizers, constraints), strict=True):
            usual = DEFAULTS if role == "initializer" else dict.fromkeys(DEFAULTS)
            found = {name: options.pop(f"{name}_{role}", usual[name]) for name in DEFAULTS}
            roles[role] = {**(named or {}), **found}
        flags = {"use_bias": use_bias, "unit_forget_bias": unit_forget_bias}
        seed = checked({**flags, **options, "seed": seed})["seed"]
        numbers = {name: options.pop(name) for name in base.hyperparameters if name in options}
        others = [name for name in base.sizes if name != "hidden"]
        sizes = {name: options.pop(f"{name}_size", None) for name in others}
        with told("RecurrentCell"):
            super().__init__(**options)
        self.base, self.units, self.use_bias = base, check_units(units), use_bias
        self.unit_forget_bias, self.seed = unit_forget_bias, seed
        self.dropout = check_rate("dropout", dropout, InputError)
        self.recurrent_dropout = check_rate("recurrent_dropout", recurrent_dropout, InputError)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.hyperparameters, self.own_sizes = numbers, sizes
        cell = base.with_hyperparameters(**numbers)
        self.definition = cell if use_bias else without_bias(cell)
        self.trained = with_recurrent_dropout(self.definition, self.recurrent_dropout)
        self._roles = {role: self._read(role, found) for role, found in roles.items()}
        known = self._known_sizes()
        self.state_size = [size.evaluate(known) for size in self.definition.state_sizes]
        self.output_size = self.definition.output_size.evaluate(known)
        self._bound: dict[str, int] = {}

    def _read(self, role: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The initialisers, regularisers or constraints, by family and by kind of parameter."""
        families = [stored.name for stored in self.definition.parameters]
        for name in given:
            if name not in families and name not in DEFAULTS:
                raise InputError(
                    f"{role}s has '{name}', which is no family of the cell '{self.base.name}'; "
                    f"its families are: {', '.join(families)}"
                )
        found = {}
        for name, value in given.items():
            option = f"{name}_{role}" if name in DEFAULTS else f"{role}s['{name}']"
            with told(f"{option}={value!r:.60}"):
                found[name] = ROLES[role].get(value)
        return found

    def _known_sizes(self) -> dict[str, int]:
        """The sizes that are known before the input is."""
        units = self.units
        if units is None and "hidden" in self.definition.free_sizes:
            raise SizeError(f"cell '{self.base.name}' needs units, the size of its hidden state")
        given = {**self.own_sizes, "hidden": units}
        known = {name: size for name, size in given.items() if size is not None}
        return known | self.definition._free_sizes(known)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the parameters.

        Args:
            input_shape: (batch, input).

        Raises:
            SizeError: The sizes contradict the equations.
        """
        own = {**self.own_sizes, "input": input_shape[-1], "hidden": self.units}
        self._bound = self.definition.bind_sizes(**own)
        self._stored = [self._weight(stored) for stored in self.definition.parameters]

    def _weight(self, stored: StoredParameter) -> Any:
        """The variable of a parameter; matrices are transposed, as Keras has them."""
        role_of = kind(self.definition, stored)
        chosen = {
            role: found.get(stored.name, found[role_of]) for role, found in self._roles.items()
        }
        if stored.name not in self._roles["initializer"]:
            number = self.definition.initial.get(stored.name)
            if number is not None:
                chosen["initializer"] = keras.initializers.Constant(number)
            elif self.unit_forget_bias:
                chosen["initializer"] = self._with_forget_gates(stored, chosen["initializer"])
        return self.add_weight(
            shape=stored.shape_for(self._bound)[::-1], name=stored.name, **chosen
        )

    def _with_forget_gates(self, stored: StoredParameter, initializer: Any) -> Any:
        """The initialiser, but ones for the biases of gates called f."""
        added = {leaf.name for leaf in biases(self.definition.graph)}
        forget = np.zeros(stored.shape_for(self._bound)[0], bool)
        for member, rows in stored.rows(self._bound).items():
            forget[rows] = member in added and member.endswith(".f")
        if not forget.any():
            return initializer

        def begin(shape: Any, dtype: Any = None) -> Any:
            drawn = initializer(shape, dtype=dtype)
            return ops.where(forget, ops.ones_like(drawn), drawn)

        return begin

    def parts(self, training: bool) -> CellParts:
        """As `CellAdapter.parts`."""
        cell = self.trained if training else self.definition
        return CellParts(
            self, cell, self._bound, self.weights_of_families, training and self.dropout > 0
        )

    def weights_of_families(self) -> list[Any]:
        """The parameters as tensors, in the order of `Cell.parameters`; matrices transposed."""
        return [*map(ops.convert_to_tensor, self._stored)]

    def stored(self) -> list[Any]:
        """The parameters in the layout of `Cell.parameters`."""
        return [
            ops.transpose(weight) if len(weight.shape) == 2 else weight
            for weight in self.weights_of_families()
        ]

    def get_recurrent_dropout_mask(self, step_input: Any) -> Any:
        """The random numbers of recurrent dropout in Keras' own loop, by stream.

        Args:
            step_input: The first state, (batch, size).
        """
        if getattr(self, "_recurrent_dropout_mask", None) is None:
            rows: Any = ops.shape(step_input)[0]  # type: ignore[index]
            options = {"dtype": self.compute_dtype, "seed": self.seed_generator}
            self._recurrent_dropout_mask: Any = {
                node.attributes["stream"]: keras.random.uniform(
                    (rows, node.type.shape[0].evaluate(self._bound)), **options
                )
                for node in self.trained.graph.nodes()
                if node.operation == "random"
            }
        return self._recurrent_dropout_mask

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, Any]:
        """One step, in operations of Keras.

        Args:
            inputs: (batch, input).
            states: The states, each (batch, size).
            training: Whether dropout is on.

        Returns:
            The output and the new states.
        """
        nested = isinstance(states, list | tuple)
        old = list(states) if nested else [states]
        parts = self.parts(training)
        cell = parts.cell
        if parts.masks_input:
            inputs = inputs * self.get_dropout_mask(inputs)
        parameters = dict(zip(cell.parameter_names, self.stored(), strict=True))
        values = split_parameters(cell, parameters, self._bound)
        values |= {cell.input: inputs, **dict(zip(cell.states, old, strict=True))}
        if cell.draws:
            drawn = self.get_recurrent_dropout_mask(old[0])
            values[DRAW] = lambda node: drawn[node.attributes["stream"]]
        outputs, arguments = cell.graph.outputs, (values, self._bound, self.compute_dtype)
        found = evaluate(outputs.values(), *arguments, KERAS, ops.convert_to_tensor)
        new = [found[outputs[name]] for name in cell.states]
        return found[outputs[cell.output]], new if nested else new[0]

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """Zeros.

        Args:
            batch_size: The number of rows.
        """
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    def get_config(self) -> dict[str, Any]:
        """The configuration that Keras saves.

        Raises:
            CellError: The name of its equations stands for others too.
        """
        config = {
            "cell": name_of_cell(self.base),
            "units": self.units,
            "use_bias": self.use_bias,
            "unit_forget_bias": self.unit_forget_bias,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
            **self.hyperparameters,
            **{f"{name}_size": size for name, size in self.own_sizes.items() if size is not None},
        }
        for role, found in self._roles.items():
            written = {name: ROLES[role].serialize(value) for name, value in found.items()}
            config |= {f"{name}_{role}": written.pop(name) for name in DEFAULTS}
            config[f"{role}s"] = written
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("anyrnn")
class Recurrent(CellSerialisation, CompiledLayer, keras.layers.RNN):
    """A recurrent layer of any cell, with the conventions of Keras.

    Args:
        cell: A cell, or the name of one in the catalogue.
        units: The size of the hidden state.
        return_sequences: Whether to return all outputs, not the last one only.
        return_state: Whether to return the last states too.
        go_backwards: Whether to go from the last step to the first, and return outputs in that
            order.
        stateful: Whether a batch begins with the last states of the batch before.
        unroll: For Keras' own loop.
        zero_output_for_mask: Whether outputs are zero at steps that do not count.
        **options: Those of `RecurrentCell`, and of a layer of Keras.

    Parameters are called as the cell's families, W, U, b; each stacks the gates in the order of
    `Cell.parameters`, and matrices are (input, gates), as Keras has them. Input, output and masks
    are those of keras.layers.LSTM; recurrent dropout has one mask for the vectors of one size.

    Raises:
        UnknownCellError: No cell of that name.
        SizeError: A size is missing, or contradicts the equations.
        InputError: A probability is none, or there is no family of a name.

    Example:
        >>> import keras
        >>> from anyrnn.keras import Recurrent
        >>> layer = Recurrent("lstm_peephole", 5, return_sequences=True, recurrent_dropout=0.2)
        >>> tuple(keras.layers.Bidirectional(layer)(keras.ops.ones((2, 7, 3))).shape)
        (2, 7, 10)
    """

    def __init__(
        self,
        cell: str | Cell,
        units: int | None = None,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        own = checked({name: options.pop(name) for name in OWN if name in options})
        flags = {
            "return_sequences": return_sequences,
            "return_state": return_state,
            "go_backwards": go_backwards,
            "stateful": stateful,
            "unroll": unroll,
            "zero_output_for_mask": zero_output_for_mask,
        }
        shared = {name: own[name] for name in ("dtype", "trainable") if name in own}
        super().__init__(
            RecurrentCell(cell, units, name="recurrent_cell", **shared, **options),
            **checked(flags),
            **own,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def get_config(self) -> dict[str, Any]:
        """The configuration that Keras saves.

        Raises:
            CellError: The name of its equations stands for others too.
        """
        config = super().get_config()
        del config["cell"]
        own = {"activity_regularizer": keras.regularizers.serialize(self.activity_regularizer)}
        cell = {name: value for name, value in self.cell.get_config().items() if name not in OWN}
        return {**config, **cell, **own}


OWN = ("name", "dtype", "trainable", "activity_regularizer", "autocast")
