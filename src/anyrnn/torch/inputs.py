"""What a layer accepts: padded or packed, masked, batch first or not, one sequence or many; and its
checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from anyrnn.errors import InputError
from anyrnn.kernels.arguments import as_array
from anyrnn.kernels.row_layout import GIVEN, check_padding, lay_out
from anyrnn.torch.device_layout import DeviceRows, lay_out_on_device
from anyrnn.torch.packed_rows import GatheredRows, PackedRows, Rows
from anyrnn.torch.tensors import check_tensor, dense, is_freed
from anyrnn.torch.tracing import FUNCTORCH

# the transforms of torch.func do not see what is done in it
UNTRANSFORMED: Any = getattr(torch._C, "_DisableFuncTorch")  # noqa: B009 - it has no type stub
MOST_ROWS = 1 << 31  # of all steps: a longer list of steps would fill any memory


class Marks(NamedTuple):
    """What a call says about its steps.

    Attributes:
        lengths: The number of steps of each sequence; all of them if None.
        mask: Whether each step counts, in the layout of the input; all do if None.
        resets: Whether the state is put back before each step, in the layout of the input.
        reset_state: What it is put back to: a state; None for the usual initial state; `given` for
            that of the call.
        padding: What outputs are where a step does not count: `zero`, or `carry` for the last one.
    """

    lengths: Any = None
    mask: Any = None
    resets: Any = None
    reset_state: Any = GIVEN
    padding: str = "zero"

    def given(self) -> dict[str, Any]:
        """Those that differ from their defaults, by name."""
        pairs = zip(self._fields, self, NO_MARKS, strict=True)
        return {name: value for name, value, default in pairs if value is not default}

    @property
    def some(self) -> bool:
        """Whether any step may be marked."""
        return not (self.lengths is None and self.mask is None and self.resets is None)


NO_MARKS = Marks()


def read_input(
    given: object,
    like: Tensor,
    input_size: int,
    batch_first: bool,
    marks: Marks = NO_MARKS,
    on_device: bool = False,
) -> Rows:
    """Check a layer's input and lay it out as rows.

    Args:
        given: A tensor (time, batch, input), (batch, time, input) or (time, input), or a
            PackedSequence.
        like: A parameter of the layer: the type and device to expect.
        input_size: The number of features to expect.
        batch_first: Whether the batch comes before the time.
        marks: Which steps count, and where the state is put back.
        on_device: Whether marks that are on the device of the input stay there.

    Returns:
        The rows.

    Raises:
        InputError: The input is not what the layer takes.
    """
    carry, reset_state = check_padding(marks.padding), marks.reset_state
    if isinstance(reset_state, str) and reset_state != GIVEN:
        raise InputError(f"reset_state={reset_state!r}; expected '{GIVEN}', a state, or None")
    if isinstance(given, PackedSequence):
        if marks.some:
            name = next(name for name, value in marks._asdict().items() if value is not None)
            raise InputError(
                f"{name} cannot be given besides a PackedSequence, which has its own lengths; "
                "leave them out, or give the padded input"
            )
        data = check_tensor("the input", given.data, like)
        if data.dim() != 2:
            raise InputError(
                f"the data of a PackedSequence has shape {tuple(data.shape)}; expected (rows, "
                f"{input_size})"
            )
        _check_features(data, input_size)
        sizes = _packed_sizes(given)
        return PackedRows(given.data, sizes, sizes[0], True, batch_first, given)
    tensor = check_tensor("the input", given, like)
    shape = tuple(tensor.shape)
    if tensor.dim() not in (2, 3):
        order = "(batch, time, input)" if batch_first else "(time, batch, input)"
        raise InputError(
            f"the input has shape {shape}; expected {order}, or (time, input) for one sequence"
        )
    _check_features(tensor, input_size)
    batched = tensor.dim() == 3
    batch_first = batch_first and batched
    if not batched:
        tensor = tensor.unsqueeze(1)
    elif batch_first:
        tensor = tensor.transpose(0, 1)
    time, batch, _ = tensor.shape
    if time == 0:
        raise InputError(
            f"the input has shape {shape}: a sequence length of 0; expected at least one step"
        )
    if not torch.compiler.is_compiling() and time * batch > MOST_ROWS:
        raise InputError(
            f"the input has shape {shape}: {time} steps of {batch} sequences are more than "
            f"{MOST_ROWS} rows; run a part of it at a time"
        )
    common = batch, batched, batch_first
    if marks.some:
        axes = ("batch", "time") if batch_first else ("time", "batch")[: 1 + batched]
        device = tensor.device if on_device else None
        with UNTRANSFORMED():
            arrays = (
                _array("lengths", marks.lengths, f"{batch} whole numbers", device),
                _array("mask", marks.mask, "booleans", device),
                _array("resets", marks.resets, "booleans", device),
            )
            if any(each is not None and each.device == device for each in arrays):
                own = lay_out_on_device(axes, shape[:-1], tensor.device, *arrays)
                return DeviceRows(tensor, own.steps, *common, own, carry, shape[:-1])
            layout = lay_out(axes, shape[:-1], *arrays)
        if layout is not None:
            return GatheredRows(tensor, layout.batch_sizes, *common, layout, carry, shape[:-1])
    return Rows(tensor, None, *common)


def _check_features(data: Tensor, input_size: int) -> None:
    if data.shape[-1] != input_size:
        raise InputError(
            f"the input has {data.shape[-1]} features (shape {tuple(data.shape)}); the layer was "
            f"made with input_size={input_size}"
        )


def _packed_sizes(packed: PackedSequence) -> list[int]:
    """The number of rows of each step of a PackedSequence.

    Raises:
        InputError: They are not those of its data, or its indices are not those of its sequences.
    """
    rows, made = len(packed.data), "make it with torch.nn.utils.rnn.pack_padded_sequence"
    sizes = _whole_numbers("batch_sizes", packed.batch_sizes)
    falling = all(first >= second for first, second in pairwise(sizes))
    if not sizes or min(sizes) < min(rows, 1) or not falling or sum(sizes) != rows:
        raise InputError(
            f"the batch_sizes of a PackedSequence are {_shown(sizes)}; expected numbers of at "
            f"least 1 that never rise and whose sum is {rows}, the rows of its data; {made}"
        )
    for name in ("sorted_indices", "unsorted_indices"):
        index, batch = getattr(packed, name), sizes[0]
        if index is None:
            continue
        found = _whole_numbers(name, index)
        if len(found) != batch or not all(0 <= number < batch for number in found):
            raise InputError(
                f"the {name} of a PackedSequence are {_shown(found)}; expected a number from 0 to "
                f"{batch - 1} for each of its {batch} sequences; {made}"
            )
    return sizes


def _whole_numbers(name: str, given: object) -> list[int]:
    """The numbers of a vector that belongs to a PackedSequence."""
    wrong = type(given).__name__
    if isinstance(given, Tensor):
        if given.dtype == torch.int64 and given.dim() == 1 and not given.is_meta:
            return given.tolist()
        wrong = f"a tensor of {given.dtype} on {given.device} with shape {tuple(given.shape)}"
    raise InputError(
        f"the {name} of a PackedSequence are {wrong}; expected a vector of torch.int64"
    )


def _shown(numbers: Sequence[int]) -> str:
    return f"[{', '.join(map(str, numbers[:9]))}{', ...' if len(numbers) > 9 else ''}]"


def _array(what: str, given: Any, wanted: str, device: torch.device | None = None) -> Any:
    """Numbers that a user gives, where NumPy reads them, inside a transform of torch.func too; on a
    device, if there is one, where they are there.
    """
    if given is None:
        return None
    while isinstance(given, Tensor) and FUNCTORCH.is_gradtrackingtensor(given):
        given = FUNCTORCH.get_unwrapped(given)
    if isinstance(given, Tensor) and FUNCTORCH.is_batchedtensor(given):
        raise InputError(
            f"{what}: a tensor that torch.func.vmap maps was given; it has to be the same for all "
            "that is mapped"
        )
    if not isinstance(given, Tensor | Sequence):  # a column of a table, with an index of its own
        given = as_array(what, given)
        given = given if given.flags.writeable else given.copy()
    try:
        if isinstance(given, Tensor) and is_freed(given):
            raise InputError(f"{what}: the tensor has no memory: its storage was freed")
        tensor = torch.as_tensor(given)
        tensor = (tensor if tensor.device == device else tensor.cpu()).to_dense()
        if not tensor.numel():
            return tensor.to(torch.int64 if what == "lengths" else torch.bool)
        if not tensor.is_cpu:
            return tensor
        tensor = dense(tensor)
        tensor.numpy()  # as it will be read
        return tensor
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what}={_line(given)}; expected {wanted}") from error


def _line(given: object) -> str:
    return " ".join(repr(given).split())[:80]
