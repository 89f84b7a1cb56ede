"""Calls of a layer that go straight to the kernels: single steps, and those that came before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from anyrnn.errors import InputError
from anyrnn.kernels.int8 import check_weights, refusal
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import INT8, Run
from anyrnn.torch.changes import watch_optimisers
from anyrnn.torch.kept_call import KeptCall
from anyrnn.torch.layer_part import LayerPart
from anyrnn.torch.layer_stack import LayerStack, State
from anyrnn.torch.prepared_call import Prepared, prepared_run, prepared_step
from anyrnn.torch.recorded_call import recorded_call
from anyrnn.torch.results import own
from anyrnn.torch.single_step import single_step
from anyrnn.torch.step_results import direct_results, is_direct, write_results
from anyrnn.torch.tensors import PLAIN, SHAPE, check_tensor, is_freed, parameter


class DirectCalls(nn.Module):
    """What a layer keeps from one call to the next, and the calls that need nothing else.

    Attributes:
        batch_first: Whether tensors have the batch before the time.
        memory: `high`, or `low` to keep the states only for the derivative.
    """

    batch_first: bool
    memory = "high"
    _structure: LayerStack | None = None
    _example: Callable[[str | None], Tensor]
    _prepared: Prepared | None = None  # once it has run
    _prepared_weights: str | None = None  # `int8` if products are those of int8

    def _made(self) -> LayerStack:
        """The parts of the layer; made again for one that was pickled as one of torch.nn."""
        assert self._structure is not None
        return self._structure

    def prepare(self, weights: str | None = None) -> None:
        """Keep what calls have in common from one to the next; see `anyrnn.torch.prepare`."""
        self.check_prepared(weights)
        watch_optimisers()
        self._prepared, self._prepared_weights = Prepared(keeps_weights=True), weights

    def check_prepared(self, weights: str | None) -> None:
        """Check that the layer can be prepared so.

        Raises:
            InputError: Its weights cannot be int8.
        """
        if check_weights(weights) is None:
            return
        dtypes = {tensor.dtype for tensor in self.parameters()} - {torch.float32}
        dtype = dtypes.pop() if dtypes else torch.float32
        for part in self._made().parts:
            refused = refusal(part.cell, part.sizes, dtype)
            if refused is not None:
                raise InputError(f"{type(self).__name__}: weights='{weights}' cannot be: {refused}")

    @property
    def _in_int8(self) -> bool:
        """Whether products are those of int8 now."""
        return self._prepared_weights is not None and not self.training

    def _run_of(self, part: LayerPart) -> Run:
        """What is run of a part outside training."""
        return part.run._replace(operand=INT8) if self._in_int8 else part.run

    def unprepare(self) -> None:
        """Release packed weights, and pack them in each call again."""
        self._prepared = self._prepared_weights = None

    def train(self, mode: bool = True) -> Self:
        """Set whether the layer trains; what is kept is released when it does."""
        if mode:
            self._forget()
        return super().train(mode)

    def _forget(self) -> None:
        """Release what was kept; a prepared layer stays prepared."""
        if self._prepared is not None:
            self._prepared = Prepared(self._prepared.packed is not None)

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: nothing of what is kept, but that a layer is prepared."""
        state: dict[str, Any] = {**super().__getstate__()}  # type: ignore[misc]
        if self._prepared is not None and self._prepared.packed is None:
            state.pop("_prepared", None)
        return state

    def _packed_weights(self, part: LayerPart) -> PackedWeights | None:
        """Where the packed weights of a part are kept, if they are."""
        if torch.compiler.is_compiling():  # a graph would be made again when something is kept
            return None
        packed = None if self._prepared is None else self._prepared.packed
        if packed is None or self.training:
            return None
        return packed.get(part) or packed.setdefault(part, PackedWeights())

    def _keep_run(self, structure: LayerStack, given: Any, returned: str, recorded: bool) -> None:
        """Keep the run of a call that was just made, for calls with inputs of the same shape."""
        part, names = structure.first, structure.first.names.values()
        stored: list[Any] = [*map(self._parameters.get, names)]
        plain = PLAIN.issuperset(map(type, (given, *stored))) and given.dim() == 3
        learned, drops = structure.options.learn_initial_state, structure.drops and self.training
        if not structure.single or learned or drops or not plain or returned != "last":
            return
        call = names, given, stored
        if recorded and not self._in_int8:
            run = part.run._replace(memory=self.memory)
            self._keep(given, recorded_call(run, *call, self.batch_first))
        elif not recorded:
            packed = self._packed_weights(part)
            self._keep(given, prepared_run(self._run_of(part), *call, packed, self.batch_first))

    def _kind(self, shape: torch.Size) -> tuple[Any, ...]:
        """What calls have in common that may be kept as one, with inputs of a shape."""
        return shape, self.batch_first, self.training, torch.is_grad_enabled(), self.memory

    def _keep(self, given: Tensor, call: KeptCall | None) -> None:
        """Keep a call with an input, for others with inputs of the same shape."""
        if self._prepared is None:
            self._prepared = Prepared()
        self._prepared.keep(self._kind(given.shape), call)

    def _kept_call(self, shape: torch.Size) -> KeptCall | None:
        """The call that is kept for inputs of a shape."""
        prepared = self._prepared
        return None if prepared is None else prepared.calls.get(self._kind(shape))

    def _single_step(self, given: Any, state: object) -> tuple[Tensor, State] | None:
        """One step of one layer by the short way; None if the call is not that, or not right."""
        if torch.compiler.is_compiling() or type(given) not in PLAIN or given.is_nested:
            return None
        shape = given.shape
        if len(shape) != 3:
            return None
        call = self._kept_call(shape)
        if call is not None:
            found = call(given, state, self._parameters)
            if found is not None:
                return found
        batch, time = shape[:2] if self.batch_first else shape[1::-1]
        if time != 1:
            return None
        return self._step_of(given, batch, state)

    def _step_of(
        self, rows: Tensor, batch: int, state: Any, out: Any = None
    ) -> tuple[Tensor, State] | None:
        """As `_single_step`, for an input (..., input) with the rows of a batch."""
        structure = self._structure
        if structure is None or not structure.single or (structure.drops and self.training):
            return None
        if self._in_int8:  # a step reads matrices as they are
            return None
        if rows.shape[-1] != structure.input_size or not rows.is_floating_point():
            return None
        part, run = structure.first, structure.first.run
        shapes = part.step_shapes(batch)
        old = (state,) if type(state) in PLAIN else state
        if old is None:
            if structure.options.learn_initial_state:
                return None
            old = tuple(map(rows.new_zeros, shapes))
        elif not isinstance(old, tuple | list) or not PLAIN.issuperset(map(type, old)):
            return None
        if [*map(SHAPE, old)] != shapes:
            return None
        if self.memory != run.memory:
            run = run._replace(memory=self.memory)
        stored: list[Any] = [*map(self._parameters.get, part.names.values())]
        computed = type(None) in map(type, stored)
        if computed:
            stored = [parameter(self, name) for name in part.names.values()]
        into = None
        if out is not None:
            results = [(*rows.shape[:-1], part.output_size), *shapes]
            into = direct_results(out, (rows, *old), results)
            if into is None:
                return None
        found = single_step(run, rows, old, stored, rows.dim() == 3, into)
        if found is None:
            return None
        output, last = found
        usual = not (computed or output.requires_grad or structure.options.learn_initial_state)
        if usual:
            self._keep(rows, prepared_step(run, part.names.values(), (rows, *old), stored))
        return self._typed((output, last[0] if len(last) == 1 else last), rows)

    def _typed(self, found: Any, given: object) -> Any:
        """The results of a call in the types that torch.nn gives."""
        return found

    def step(
        self,
        input: Tensor,
        state: State | None = None,
        *,
        out: tuple[Tensor, State] | None = None,
    ) -> tuple[Tensor, State]:
        """Run the layer for one step, as a call with one step would; for streams.

        Args:
            input: (batch, input), or (input,) for one sequence.
            state: The state before the step, as a call takes it.
            out: What an earlier step without a gradient has returned: this one's results are
                written there. Faster if it is not the state before the step: two take turns.

        Returns:
            The output, (batch, size) or (size,), and the state after the step.

        Raises:
            InputError: The layer is bidirectional, or a shape, a type or a device is not what it
                takes.

        Example:
            >>> import torch
            >>> from anyrnn.torch import GRU
            >>> layer, x, state = GRU(3, 5), torch.randn(7, 2, 3), None
            >>> for x_t in x:
            ...     output, state = layer.step(x_t, state)
            >>> torch.allclose(output, layer(x)[0][-1], atol=1e-6)
            True
        """
        if type(input) in PLAIN and input.dim() == 2 and is_direct(self):
            call = None if torch.compiler.is_compiling() else self._kept_call(input.shape)
            single = None if call is None else call(input, state, self._parameters, out)
            if single is None:
                single = self._step_of(input, input.shape[0], state, out)
            if single is not None:
                return single
        structure = self._structure or self._made()
        if structure.bidirectional:
            raise InputError(
                "step() goes forwards only, and the layer is bidirectional: it needs the whole "
                "sequence"
            )
        size = structure.input_size
        input = check_tensor("the input of a step", input, self._example(structure.example))
        if input.dim() not in (1, 2) or is_freed(input):
            shape = "without memory" if is_freed(input) else tuple(input.shape)
            raise InputError(
                f"the input of a step is {shape}; expected (batch, {size}) or ({size},)"
            )
        axis = int(self.batch_first and input.dim() == 2)
        output, new = self(input.unsqueeze(axis), state)
        found = own([output.squeeze(axis)])[0], new
        return found if out is None else write_results(found, out)
