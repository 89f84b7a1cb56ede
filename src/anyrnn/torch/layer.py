"""Layers on top of each other, in one direction or two: what `Recurrent` and the drop-in layers
have in common.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn import functional

from anyrnn.errors import InputError
from anyrnn.kernels.run import INT8, DeviceSteps, Run
from anyrnn.torch import vendor_path
from anyrnn.torch.direct_calls import DirectCalls
from anyrnn.torch.execute import breaks_graph, execute
from anyrnn.torch.inputs import GIVEN, Marks, read_input
from anyrnn.torch.layer_joins import merged, past
from anyrnn.torch.layer_part import LayerPart, extend
from anyrnn.torch.layer_stack import (
    LayerStack,
    State,
    read_states,
    stack_states,
    write_states,
)
from anyrnn.torch.packed_rows import GatheredRows, Input, Rows, Start
from anyrnn.torch.path import ORDER, Path, asked, check_int8, choose, may_be_vendor, on_device
from anyrnn.torch.placed_run import run_placed
from anyrnn.torch.results import own
from anyrnn.torch.shifts import Added, Shifts
from anyrnn.torch.single_step import by_vendor
from anyrnn.torch.tensors import PLAIN, Results, check_parameters, parameter
from anyrnn.torch.tracing import leaf_call, refuse_script, untraced


class Layer(DirectCalls):
    """What all recurrent layers do; the module's class brings parameters and options.

    Attributes:
        bidirectional: Whether each layer also runs backwards.
        dropout: The probability of dropping an output between layers, in training.
    """

    bidirectional: bool
    dropout: float
    _like: Tensor
    __prepare_scriptable__ = refuse_script

    @property
    def path(self) -> Path:
        """Which way a call is computed with the layer's parameters as they are, and why; of a layer
        whose single steps autograd follows faster in another way, that too.
        """
        stack = self._made()
        tensors = [*self.parameters()] or [self._like]
        paths = [choose(cell, tensors) for cell in stack.cells(self.training)]
        path = max(paths, key=lambda path: ORDER.index(path.name))
        if self._in_int8:
            return Path(path.name, f"{path.reason}, products in int8")
        first = stack.first.run
        vendor = by_vendor(first.cell, first.sizes, self.memory) if stack.single else None
        if vendor is None or path.name != "compiled" or asked():
            return path
        return Path(path.name, f"{path.reason}; one step with a gradient: torch.nn's {vendor}")

    def _register(self, device: Any, dtype: Any) -> None:
        """Make the parameters that are missing or have another shape."""
        for name, shape in self._made().parameter_shapes().items():
            present = self._parameters.get(name)
            if present is None or present.shape != shape:
                empty = torch.empty(shape, device=device, dtype=dtype)
                setattr(self, name, nn.Parameter(empty))

    def reset_parameters(self) -> None:
        """Draw all parameters anew, uniform in +-1 / sqrt(hidden size); gains start at 1, learned
        initial states at 0, and highways nearly closed, with a bias of -1.
        """
        bounds, constants = self._made().initialisation()
        first = next(iter(bounds.values()), 1.0)
        for name, tensor in self.named_parameters():
            bound = bounds.get(name, first)
            nn.init.uniform_(tensor, -bound, bound)
        for name, number in constants.items():
            nn.init.constant_(parameter(self, name), number)

    def _further_options(self) -> str:
        """For the representation: the options besides torch.nn's that differ from their defaults,
        each after a comma.
        """
        text = str(self._made().options)
        return text + (f", memory={self.memory}" if self.memory != "high" else "")

    def _call(self, given: object, state: object, marks: Marks, returned: object) -> Any:
        """Run the layer; arguments are those of `forward`."""
        structure = self._structure or self._made()
        marked = marks.some
        # Where Dynamo gives up on this frame, only the functions that it calls are compiled.
        if marked or not isinstance(given, Tensor) or torch.compiler.is_compiling():
            if isinstance(given, Proxy):
                usual = isinstance(returned, str) and returned == "last"
                named = marks.given() | ({} if usual else {"return_states": returned})
                return leaf_call(self, given, state, **named)
            lengths = marks if marked else None
            if breaks_graph(structure.first.cell, given, lengths, self.parameters()):
                return untraced(self._call, given, state, marks, returned)
        if returned not in ("last", "all"):
            raise InputError(f"return_states={returned!r}; expected 'last' or 'all'")
        rows, starts = self._read(structure, given, state, marks)
        placed = self._run_placed(structure, rows, starts) if returned == "last" else None
        if placed is not None:
            output, found, stack = placed[0], [placed[1]], rows.stack_end
        else:
            data, found = self._run(structure, rows, starts, str(returned))
            finish, stack = rows.end, rows.stack_end
            if returned == "all":
                finish, stack = rows.every, rows.stack_every
            for place, (each, part) in enumerate(zip(found, starts, strict=True)):
                found[place] = [*map(finish, each, part)]
            output = rows.restore(data)
        output, *states = own([output, *stack_states(structure.form, iter(found), stack)])
        usual = type(given) in PLAIN and type(output) in PLAIN and not torch.compiler.is_compiling()
        if usual and not marked:
            call = structure, given, str(returned), output.requires_grad
            if "torch._dynamo" in sys.modules:  # as in `execute`
                untraced(self._keep_run, *call)
            else:
                self._keep_run(*call)
        return output, write_states(structure.form, iter(states))

    def _weights(self, part: LayerPart) -> dict[str, Tensor]:
        names, own = part.names, self._parameters
        found: Any = dict(zip(names, map(own.get, names.values()), strict=True))
        if type(None) in map(type, found.values()):
            return {stored: parameter(self, name) for stored, name in names.items()}
        return found

    def _read(
        self, structure: LayerStack, given: object, state: object, marks: Marks
    ) -> tuple[Rows, list[list[Start]]]:
        """The input as rows, and what each state of each part begins with."""
        like = self._example(structure.example)
        cells, stay = structure.cells(self.training), False
        if marks.some and isinstance(given, Tensor) and given.numel():
            called = [given, *self.parameters()]
            stay = on_device(cells, called, marks.resets is not None)
        rows = read_input(given, like, structure.input_size, self.batch_first, marks, stay)
        initial = reset = self._initial(structure, rows, state, like)
        if marks.resets is not None and not isinstance(marks.reset_state, str):
            reset = self._initial(structure, rows, marks.reset_state, like)
        starts = []
        for part, given, put_back in zip(structure.parts, initial, reset, strict=True):
            pairs = zip(given, put_back, strict=True)
            starts.append([Start(*pair, part.run.reverse) for pair in pairs])
        return rows, starts

    def _example(self, name: str | None) -> Tensor:
        """A parameter of the layer: the type and device to expect; one that no parametrization
        has to compute, if there is one.
        """
        if name is None:
            return self._like
        found = self._parameters.get(name)
        if found is None:
            found = next((each for each in self._parameters.values() if each is not None), None)
        return parameter(self, name) if found is None else found

    def _initial(
        self, structure: LayerStack, rows: Rows, state: object, like: Tensor
    ) -> list[Sequence[Tensor]]:
        """The initial states of each part, (batch, size), for those that a caller gives."""
        initial: list[Sequence[Tensor]] = []
        known = read_states(structure.form, state, rows, like)
        for part, values in zip(structure.parts, known, strict=True):
            if values is not None:
                initial.append(values)
            elif structure.options.learn_initial_state:
                learned = [parameter(self, name) for name in part.initial_names]
                initial.append([tensor.expand(rows.batch, -1) for tensor in learned])
            else:
                sizes = part.state_sizes
                initial.append([rows.data.new_zeros(rows.batch, size) for size in sizes])
        return initial

    def _run(
        self,
        structure: LayerStack,
        rows: Rows,
        starts: Sequence[Sequence[Start]],
        returned: str,
        shifts: Added | None = None,
    ) -> tuple[Tensor, list[Sequence[Tensor]]]:
        """Run all layers.

        Args:
            structure: Their parts.
            rows: The input.
            starts: What each state of each part begins with.
            returned: What to return of each part: the `last` states, `all` states, or the `values`
                that the cell's equations name.
            shifts: What is added to new states, if that is wanted; then not with `values`.

        Returns:
            The outputs, laid out as the rows, and what is to be returned of each part.
        """
        options, data = structure.options, rows.rows
        operand = None
        if self._in_int8:
            check_int8(structure.first.cell, [data, *self.parameters()])
            operand = INT8
        initial = [[*map(rows.begin, part)] for part in starts]
        if returned == "last" and shifts is None and operand is None and may_be_vendor(data):
            at_once = self._run_at_once(structure, rows, initial)
            if at_once is not None:
                return at_once
        found: list[Sequence[Tensor]] = []
        alone = structure.single and type(rows) is Rows and rows.batched
        for place, layer in enumerate(structure.layers):
            entering, outputs = data, []
            if options.input_dropout and self.training:
                data = rows.drop_features(data, options.input_dropout)
            for part in layer:
                weights = self._weights(part)
                if options.weight_dropout and self.training:
                    weights = part.drop_weights(weights, options.weight_dropout)
                cell, sizes = part.training_cell if self.training else part.cell, None
                if returned != "last":
                    extend(part, returned, self.training)
                    cell, sizes = part.extended[returned, self.training]
                how = part.run.reverse, self.memory
                run = Run(cell, part.size_items, *how, operand, called=part.run.called)
                begun, entering_part = initial[len(found)], data
                if shifts is not None:
                    run = part.shifted(self.training, self.memory, returned == "all")
                    entering_part = shifts.added(part, data)
                stacked = alone and sizes is None and shifts is None
                given = entering_part, rows.batch_sizes, begun, weights
                packed = self._packed_weights(part)
                output, last = execute(run, *given, stacked=stacked, packed=packed)
                if shifts is not None and place == len(structure.layers) - 1:
                    output = shifts.leaving(output, part.run.reverse)
                if sizes is not None:
                    last = output.split([*sizes.values()], dim=-1)
                    output = last[0]
                    if returned == "all":
                        named = dict(zip(sizes, last, strict=True))
                        last = [named[name] for name in part.cell.states]
                outputs.append(output)
                found.append(last)
            data = merged(outputs, options.merge)
            if structure.skips[place]:
                if shifts is not None and place == len(structure.layers) - 1:
                    entering = shifts.leaving(entering, *(part.run.reverse for part in layer))
                data = past(entering, data, self._highway(structure, place))
            if self.dropout and self.training and place < len(structure.layers) - 1:
                data = functional.dropout(data, self.dropout)
        return data, found

    def _run_placed(
        self, structure: LayerStack, rows: Rows, starts: Sequence[Sequence[Start]]
    ) -> Results | None:
        """Run one layer from the padded input to the padded output; None if that cannot be."""
        drops = structure.drops and self.training
        if not isinstance(rows, GatheredRows) or not structure.single or drops:
            return None
        part = structure.first
        if self._in_int8:
            check_int8(part.cell, [rows.data, *self.parameters()])
        given = rows, starts[0], self._weights(part), self._packed_weights(part)
        return run_placed(self._run_of(part)._replace(memory=self.memory), *given)

    def _run_at_once(
        self,
        structure: LayerStack,
        rows: Rows,
        initial: Sequence[Sequence[Tensor]],
    ) -> tuple[Tensor, list[Sequence[Tensor]]] | None:
        """Run all layers in one call of torch.nn's operator; None if it does not run them."""
        mode, data, sizes = structure.torch_mode, rows.rows, rows.batch_sizes
        if mode is None or not rows.batch or (structure.drops and self.training):
            return None
        if choose(structure.first.cell, [data, *self.parameters()]).name != "vendor":
            return None
        if isinstance(sizes, DeviceSteps) or (sizes is not None and not sizes[0]):
            return None
        weights = [self._weights(part) for part in structure.parts]
        for part, stored in zip(structure.parts, weights, strict=True):
            check_parameters(part.run, stored, data)
        options = structure.bidirectional, self.dropout, self.training
        return vendor_path.run_layers(mode, data, sizes, initial, weights, *options)

    def _highway(self, structure: LayerStack, place: int) -> tuple[Tensor, Tensor] | None:
        if not structure.options.highway:
            return None
        names = (f"highway_{kind}_l{place}" for kind in ("weight", "bias"))
        weight, bias = (parameter(self, name) for name in names)
        return weight, bias

    @torch.no_grad()
    def inspect(
        self,
        input: Input,
        state: State | None = None,
        lengths: Any = None,
        *,
        mask: Any = None,
        resets: Any = None,
        reset_state: Any = GIVEN,
    ) -> dict[str, Any]:
        """Every value that the cell's equations name, at every step: gates, candidates, states.

        Computed without a gradient. The first call compiles code of its own.

        Args:
            input: The input of the layer, as a call takes it.
            state: The initial state.
            lengths: The number of steps of each sequence.
            mask: Whether each step counts, as a call takes it.
            resets: Whether the state is put back before each step, as a call takes it.
            reset_state: What it is put back to.

        Returns:
            For each name its values, laid out as the input: (time, batch, size); zero at steps that
            do not count. New states have the states' names, and an output apart from them is
            `output`. Where there are several layers or directions, names end as those of the
            parameters do: `f_l0`, `f_l1_reverse`.

        Raises:
            InputError: A shape, a type, a device or a length is not what the layer takes.

        Example:
            >>> import torch
            >>> from anyrnn.torch import LSTM
            >>> values = LSTM(3, 5).inspect(torch.randn(7, 2, 3))
            >>> sorted(values), values["f"].shape
            (['c', 'f', 'g', 'h', 'i', 'o'], torch.Size([7, 2, 5]))
        """
        rows, parts = self.named_values(
            input, state, lengths, mask=mask, resets=resets, reset_state=reset_state
        )
        several, given_back = len(parts) > 1, {}
        for part, values in parts:
            for name, value in zip(values, own([*map(rows.restore, values.values())]), strict=True):
                given_back[name + part.suffix * several] = value
        return given_back

    @torch.no_grad()
    def named_values(
        self,
        input: Input,
        state: State | None = None,
        *marks: Any,
        returned: str = "values",
        shifts: Added | None = None,
        **others: Any,
    ) -> tuple[Rows, list[tuple[LayerPart, dict[str, Tensor]]]]:
        """As `inspect`, for each layer and direction, with the values packed as rows; or with `all`
        states only, which may be shifted.
        """
        structure = self._made()
        rows, starts = self._read(structure, input, state, Marks(*marks, **others))
        _, found = self._run(structure, rows, starts, returned, shifts)
        values = []
        for part, each in zip(structure.parts, found, strict=True):
            names = part.extended[returned, self.training][1]
            named = names if returned == "values" else part.cell.states
            values.append((part, dict(zip(named, each, strict=True))))
        return rows, values

    def shifted(
        self, shifts: Shifts, input: Input, state: State | None = None, *marks: Any, **others: Any
    ) -> tuple[Input, State]:
        """A call whose states have zeros added to them, by which gradients can be asked for.

        Args:
            shifts: Made for this call; it takes the zeros.
            input: The input of the layer.
            state: The initial state.
            *marks: The lengths, if they are given so.
            **others: Further arguments of a call, but for `return_states`.

        Returns:
            As of a call: the outputs and the last state.

        Raises:
            InputError: A shape, a type, a device or a length is not what the layer takes; or what
                has to be kept for the gradient is more than the memory that is free.
        """
        structure = self._made()
        rows, starts = self._read(structure, input, state, Marks(*marks, **others))
        shifts.begin(rows, structure, self.training, self.memory)
        data, found = self._run(structure, rows, starts, "last", shifts)
        for place, (each, part) in enumerate(zip(found, starts, strict=True)):
            found[place] = [*map(rows.end, each, part)]
        states = stack_states(structure.form, iter(found), rows.stack_end)
        return rows.restore(data), write_states(structure.form, iter(states))
