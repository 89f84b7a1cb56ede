"""What a layer accepts and returns: padded or packed, batch first or not, one sequence or many;
and its checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from anyrnn.errors import InputError

Input = Tensor | PackedSequence

MOST_ROWS = 1 << 31  # of all steps: a longer list of steps would fill any memory


def check_tensor(what: str, tensor: object, like: Tensor) -> Tensor:
    """Check that something is a tensor of floats of the type and on the device of the parameters.

    Raises:
        InputError: It is not.
    """
    if not isinstance(tensor, Tensor):
        raise InputError(f"{what} is a {type(tensor).__name__}; expected a tensor")
    if tensor.layout != torch.strided:
        raise InputError(f"{what} is {tensor.layout}; convert it with .to_dense()")
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise InputError(
            f"{what} is {tensor.dtype}; expected {like.dtype}: embed token numbers with "
            "torch.nn.Embedding, or convert with .float()"
        )
    if tensor.dtype != like.dtype and not torch.is_autocast_enabled(tensor.device.type):
        raise InputError(
            f"{what} is {tensor.dtype}, but the layer's parameters are {like.dtype}; convert one: "
            f"tensor.to({like.dtype}) or layer.to({tensor.dtype})"
        )
    if tensor.device != like.device:
        raise InputError(
            f"{what} is on {tensor.device}, but the layer's parameters are on {like.device}; move "
            f"one: tensor.to('{like.device}') or layer.to('{tensor.device}')"
        )
    return tensor


@dataclass(frozen=True)
class Rows:
    """An input as the rows of all steps, and how to give results their caller's layout back.

    Attributes:
        data: (sum of batch_sizes, input); (time, batch, input) while torch.compile or torch.export
            trace, because merging sizes that they do not know costs them conditions.
        time: The number of steps.
        batch: The number of sequences.
        packed: The PackedSequence it came as, or was made for the sake of lengths.
        batched: Whether the caller gave a batch; if not, one sequence.
        batch_first: Whether the caller's tensors have the batch before the time.
        padded_to: The number of steps to pad to, where lengths were given.
    """

    data: Tensor
    time: int
    batch: int
    packed: PackedSequence | None
    batched: bool
    batch_first: bool
    padded_to: int | None = None

    @property
    def batch_sizes(self) -> list[int]:
        """The number of rows of each step."""
        if self.packed is not None:
            return self.packed.batch_sizes.tolist()
        return [self.batch] * self.time

    def restore(self, data: Tensor) -> Input:
        """The rows of a result, laid out as `data`, in the layout of the input."""
        if self.packed is not None:
            _, batch_sizes, sorted_indices, unsorted_indices = self.packed
            packed = PackedSequence(data, batch_sizes, sorted_indices, unsorted_indices)
            if self.padded_to is None:
                return packed
            return pad_packed_sequence(packed, self.batch_first, total_length=self.padded_to)[0]
        features = data.shape[self.data.dim() - 1 :]
        output = data.reshape(self.time, self.batch, *features)
        if not self.batched:
            return output.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output

    def stack_last(self, states: Sequence[Tensor]) -> Tensor:
        """The last states of layers, (batch, size), in the order of the caller's batch."""
        stacked = self.unsort(torch.stack([*states]))
        return stacked if self.batched else stacked.squeeze(1)

    def stack_all(self, states: Sequence[Tensor]) -> Input:
        """The states of layers at every step, each laid out as the input, the layers first; in a
        PackedSequence the layers come after the rows.
        """
        restored = self.restore(torch.stack([*states], dim=-2))
        return restored.movedim(-2, 0) if isinstance(restored, Tensor) else restored

    def times(self, data: Tensor, factors: Tensor) -> Tensor:
        """Rows, laid out as `data`, times a vector for each sequence, (batch, size)."""
        if self.packed is not None:
            steps = self.packed.batch_sizes.tolist()
            return data * torch.cat([factors[:size] for size in steps])
        if self.data.dim() == 3:
            return data * factors
        return (data.unflatten(0, (self.time, self.batch)) * factors).flatten(0, 1)

    def sort(self, state: Tensor) -> Tensor:
        """A caller's state, (..., batch, size), in the order of the rows."""
        indices = self.packed.sorted_indices if self.packed is not None else None
        return state if indices is None else state.index_select(-2, indices)

    def unsort(self, state: Tensor) -> Tensor:
        """A state in the order of the caller's batch."""
        indices = self.packed.unsorted_indices if self.packed is not None else None
        return state if indices is None else state.index_select(-2, indices)


def read_input(
    given: object, like: Tensor, input_size: int, batch_first: bool, lengths: object = None
) -> Rows:
    """Check a layer's input and lay it out as rows.

    Args:
        given: A tensor (time, batch, input), (batch, time, input) or (time, input), or a
            PackedSequence.
        like: A parameter of the layer: the type and device to expect.
        input_size: The number of features to expect.
        batch_first: Whether the batch comes before the time.
        lengths: The number of steps of each sequence; all of them if not given.

    Returns:
        The rows.

    Raises:
        InputError: The input is not what the layer takes.
    """
    if isinstance(given, PackedSequence):
        if lengths is not None:
            raise InputError(
                "lengths were given besides a PackedSequence, which has its own; leave them out"
            )
        data = check_tensor("the input", given.data, like)
        _check_features(data, input_size)
        return _packed(given, batch_first)
    tensor = check_tensor("the input", given, like)
    shape = tuple(tensor.shape)
    if tensor.dim() not in (2, 3):
        order = "(batch, time, input)" if batch_first else "(time, batch, input)"
        raise InputError(
            f"the input has shape {shape}; expected {order}, or (time, input) for one sequence"
        )
    _check_features(tensor, input_size)
    batched = tensor.dim() == 3
    if not batched:
        tensor = tensor.unsqueeze(1)
    elif batch_first:
        tensor = tensor.transpose(0, 1)
    time, batch, _ = tensor.shape
    if time == 0:
        raise InputError(
            f"the input has shape {shape}: a sequence length of 0; expected at least one step"
        )
    traced = torch.compiler.is_compiling()
    if not traced and time * batch > MOST_ROWS:
        raise InputError(
            f"the input has shape {shape}: {time} steps of {batch} sequences are more than "
            f"{MOST_ROWS} rows; run a part of it at a time"
        )
    if lengths is not None:
        return _read_lengths(tensor, lengths, batched, batch_first)
    data = tensor if traced else tensor.reshape(time * batch, input_size)
    return Rows(data, time, batch, None, batched, batch_first)


def _packed(given: PackedSequence, batch_first: bool, padded_to: int | None = None) -> Rows:
    time, batch = len(given.batch_sizes), int(given.batch_sizes[0])
    return Rows(given.data, time, batch, given, True, batch_first, padded_to)


def _check_features(data: Tensor, input_size: int) -> None:
    if data.shape[-1] != input_size:
        raise InputError(
            f"the input has {data.shape[-1]} features (shape {tuple(data.shape)}); the layer was "
            f"made with input_size={input_size}"
        )


def _read_lengths(tensor: Tensor, lengths: object, batched: bool, batch_first: bool) -> Rows:
    time, batch, _ = tensor.shape
    if not batched:
        raise InputError("lengths were given for one sequence without a batch; slice it instead")
    try:
        numbers = torch.as_tensor(lengths, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"lengths={lengths!r}; expected {batch} whole numbers") from error
    if numbers.is_floating_point() or numbers.dtype == torch.bool or numbers.shape != (batch,):
        raise InputError(
            f"lengths are {numbers.dtype} of shape {tuple(numbers.shape)}; expected {batch} whole "
            "numbers, one for each sequence"
        )
    wrong = [n for n in numbers.tolist() if not 1 <= n <= time]
    if wrong:
        raise InputError(
            f"a length is {wrong[0]}; the input has {time} steps: expected 1 to {time}"
        )
    packed = pack_padded_sequence(tensor, numbers, enforce_sorted=False)
    return _packed(packed, batch_first, time)
