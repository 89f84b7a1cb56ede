"""Running a cell on PyTorch, as the layers of `anyrnn.torch` do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from anyrnn.keras.backends import CellCall
from anyrnn.kernels.callbacks import whole_number
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.torch.changes import watch_optimisers
from anyrnn.torch.compiled_path import TENSORS
from anyrnn.torch.execute import breaks_graph, execute
from anyrnn.torch.inputs import NO_MARKS, Marks, read_input
from anyrnn.torch.packed_rows import Start
from anyrnn.torch.path import choose, is_ordinary
from anyrnn.torch.tensors import wants_gradient
from anyrnn.torch.tracing import untraced


def refusal(tensors: Sequence[Tensor]) -> str | None:
    """Why kernels cannot take some tensors; as `anyrnn.keras.backends.refusal`."""
    path = choose(None, tensors)
    return None if path.name == "compiled" else path.reason


def _turned(parameter: Tensor) -> Tensor:
    """A parameter as it is stored, given that of Keras; or the other way round."""
    return parameter.t() if parameter.dim() == 2 else parameter


class KeptWeights:
    """The stored parameters of a layer, and what kernels pack of them, kept until PyTorch counts a
    change of Keras' variables, or these are elsewhere.

    Attributes:
        packed: What is packed of the parameters.
    """

    def __init__(self) -> None:
        self.clear()
        watch_optimisers()

    def clear(self) -> None:
        """Release what is kept."""
        self._stored, self.packed = PackedWeights(), PackedWeights()

    def stored(self, weights: Sequence[Tensor]) -> list[Tensor] | None:
        """The stored parameters, given Keras'; None if one of these counts no changes."""
        places = [*map(Tensor.data_ptr, weights), *chain(*map(Tensor.stride, weights))]
        found = self._stored.find(b"", TENSORS, weights, places)
        if found is None:
            return None
        if found.memory is None:
            with torch.inference_mode(False):  # so that they count changes themselves
                found.memory = [
                    _turned(part.detach()).clone(memory_format=torch.contiguous_format)
                    for part in weights
                ]
            self._stored.keep(b"", found)
        return found.memory


def _computes_only(tensors: Sequence[Tensor]) -> bool:
    """Whether a call on the compiled path computes numbers, and neither a gradient nor a graph."""
    if torch.compiler.is_compiling() or not is_ordinary() or torch.is_autocast_enabled("cpu"):
        return False
    return not wants_gradient(tensors)


def run(call: CellCall) -> tuple[Tensor | None, list[Tensor]]:
    """Run a cell; as `anyrnn.keras.backends.run`. PyTorch knows itself what to record."""
    x, mask, states, parameters = call.x, call.mask, call.states, call.parameters
    if breaks_graph(call.cell, x, mask, parameters):
        return untraced(run, call)
    if call.reverse:
        x, mask = x.flip(1), None if mask is None else mask.flip(1)
    marks = NO_MARKS if mask is None else Marks(mask=mask.bool(), padding="carry")
    rows = read_input(x, x, call.sizes["input"], True, marks)
    stored, packed = [*map(_turned, parameters)], None
    if call.kept is not None and call.recorded:
        call.kept.clear()  # whatever a training does to parameters
    elif call.kept is not None and _computes_only([x, *states, *parameters]):
        kept = call.kept.stored(parameters)
        if kept is not None:
            stored, packed = kept, call.kept.packed
    starts = [Start(state, state, False) for state in states]
    output, last = execute(
        call.run,
        rows.rows,
        rows.batch_sizes,
        [*map(rows.begin, starts)],
        dict(zip(call.cell.parameter_names, stored, strict=True)),
        None if call.seed is None else whole_number(call.seed.to(torch.int64)),
        packed=packed,
    )
    restored = rows.restore(output) if call.sequences else None
    assert isinstance(restored, Tensor | None)
    return restored, [*map(rows.end, last, starts)]
