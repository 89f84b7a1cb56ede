"""Which steps of padded sequences count and where states are put back; and how to run that.

A run takes sequences of falling lengths: the rows of all steps, one step after another, and of a
sequence that has ended none. A step that does not count has no row either, and where a state is put
back, another sequence of rows begins. So a run knows neither masks nor resets, and its time is that
of the steps that count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache, wraps
from math import prod
from typing import Any

import numpy as np

from anyrnn.errors import InputError
from anyrnn.kernels.run import Array, PlacedSteps, Places

PADDINGS = ("zero", "carry")
GIVEN = "given"
LAYOUTS = 16  # layouts that are kept


def _once(method: Callable[..., Array]) -> Callable[..., Array]:
    """A method of `Layout` that computes its result once for each argument."""

    @wraps(method)
    def found(self: Layout, *arguments: bool) -> Array:
        key = method.__name__, *arguments
        if key not in self._found:
            self._found[key] = method(self, *arguments)
        return self._found[key]

    return found


class Layout:
    """How the steps that count lie as rows.

    A piece is what a sequence has between two resets; one that has steps that count is a sequence
    of rows.

    Args:
        counts: Whether each step counts, (time, batch).
        resets: Whether the state is put back before each step, (time, batch), if it ever is.
        lengths: How many steps of each sequence count, if these are its first ones; without resets.

    Attributes:
        shape: Time and batch.
        resets: Whether the state is ever put back.
        batch_sizes: The number of rows of each step, never rising.
        rows: The number of rows.
        sequences: The number of sequences of rows.
        kept: What faces keep that follows from these.
    """

    def __init__(
        self, counts: Array, resets: Array | None = None, lengths: Array | None = None
    ) -> None:
        time, _ = self.shape = counts.shape
        self._found: dict[Any, Array] = {}
        self.kept: dict[Any, Any] = {}
        self._counts, self.resets = counts, resets is not None
        self._pieces = np.broadcast_to(np.int64(0), counts.shape)
        if resets is None and lengths is not None:
            order = np.argsort(-lengths, kind="stable")
            self._owner = owner = order[: np.count_nonzero(lengths)]
            self._piece = owner[:0]
            there = np.arange(lengths.max(initial=0))[:, None] < lengths[owner]
            self.batch_sizes: list[int] = np.count_nonzero(there, axis=1).tolist() or [0]
            self.rows, self.sequences = int(lengths.sum()), len(owner)
            self._there = there
            return
        self._there = None
        step = np.flatnonzero(counts.T)  # each sequence's steps one after another
        piece = begun = step[:0]
        if resets is not None:
            self._pieces = np.cumsum(resets, axis=0)
            piece = step // time * (time + 1) + self._pieces.T.ravel()[step]
            begun = np.flatnonzero(np.diff(piece, prepend=-1))
            numbers, owner = np.diff(begun, append=len(step)), step[begun] // time
        else:
            numbers = counts.sum(axis=0)
            owner = np.flatnonzero(numbers)
            numbers = numbers[owner]
        order = np.argsort(-numbers, kind="stable")
        falling = -numbers[order]
        sizes = np.searchsorted(falling, -np.arange(-falling.min(initial=0)))
        offsets = np.cumsum(sizes) - sizes
        self.batch_sizes = sizes.tolist() or [0]
        self.rows, self.sequences = int(numbers.sum()), len(order)
        self._owner = owner[order]
        self._piece = piece if resets is None else piece[begun[order]] % (time + 1)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        within = np.arange(self.rows) - np.repeat(np.cumsum(numbers) - numbers, numbers)
        self._found["places", True] = found = np.empty_like(step)  # of each row
        found[offsets[within] + np.repeat(rank, numbers)] = step

    @_once
    def places(self, batch_first: bool = False) -> Array:
        """Where each row is in an array (time * batch, ...), or (batch * time, ...)."""
        time, batch = self.shape
        if self._there is not None:  # the first steps of each sequence
            every, owner = np.arange(len(self._there))[:, None], self._owner
            return (every + owner * time if batch_first else every * batch + owner)[self._there]
        sequence, step = np.divmod(self.places(True), time)
        return step * batch + sequence

    @_once
    def rest(self, batch_first: bool = False) -> Array:
        """Where the steps that do not count are in such an array."""
        return np.flatnonzero(~(self._counts.T if batch_first else self._counts))

    def placed(self, read: bool, write: bool, reverse: bool, backward: bool = False) -> PlacedSteps:
        """The steps of a run that reads and writes padded arrays.

        Args:
            read: Whether the input has the batch before the time.
            write: Whether the output has.
            reverse: Whether the run is from the last step to the first.
            backward: Whether the run is the derivative of that one. Where states are put back, its
                states are those of the sequences of rows.
        """
        if backward and not self.resets:  # one given state begins each sequence: it is symmetric
            backward = False
        key = "placed", read, write, reverse, backward
        if key not in self.kept:
            batch, every = self.shape[1], np.arange(self.sequences)
            self.kept[key] = PlacedSteps(
                tuple(self.batch_sizes),
                input=Places(self.places(read), self.rest(read)),
                output=Places(self.places(write), self.rest(write)),
                padded=prod(self.shape),
                begin=every if backward else self.begin(reverse),
                end=every if backward else self.end(reverse),
                given=self.sequences if backward else 2 * batch if self.resets else batch,
            )
        return self.kept[key]

    @cached_property
    def _row(self) -> Array:
        """The row of each step that counts, (time, batch)."""
        time, batch = self.shape
        found = np.zeros(batch * time, np.int64)
        found[self.places(True)] = np.arange(self.rows)
        return found.reshape(batch, time).T

    def _first_piece(self, reverse: bool) -> Array:
        """The piece with which a run through each sequence begins."""
        return self._pieces[-1] if reverse else np.zeros_like(self._pieces[0])

    @_once
    def begin(self, reverse: bool) -> Array:
        """Where the initial state of each sequence of rows is: in an array with the initial states
        of the batch, and after these what states are put back to.
        """
        if not self.resets:
            return self._owner
        put_back = self._piece != self._first_piece(reverse)[self._owner]
        return self._owner + put_back * self.shape[1]

    @_once
    def end(self, reverse: bool) -> Array:
        """Where the last state of each sequence of the batch is: in an array with the last states
        of the sequences of rows, the initial ones, and what states are put back to.
        """
        batch, last = self.shape[1], self._pieces[0 if reverse else -1]
        if not self.resets:
            found = self.sequences + np.arange(batch)
            found[self._owner] = np.arange(self.sequences)
            return found
        put_back = last != self._first_piece(reverse)
        found = self.sequences + np.arange(batch) + put_back * batch
        ending = np.flatnonzero(self._piece == last[self._owner])
        found[self._owner[ending]] = ending
        return found

    @_once
    def every(self, reverse: bool) -> Array:
        """Where the state after each step is, (time, batch): in an array with the states of all
        rows, the initial ones, and what states are put back to.
        """
        pieces, columns = self._pieces, np.arange(self.shape[1])
        near, found = self._nearest(reverse)
        found &= pieces[near, columns] == pieces
        put_back = pieces != self._first_piece(reverse)
        start = self.rows + columns + put_back * self.shape[1]
        return np.where(found, self._row[near, columns], start)

    @_once
    def carried(self) -> Array:
        """Where the row of the last step that counts is for each step, (time, batch); the number of
        rows where there is none.
        """
        near, found = self._nearest(False)
        return np.where(found, self._row[near, np.arange(self.shape[1])], self.rows)

    def _nearest(self, reverse: bool) -> tuple[Array, Array]:
        """For each step the nearest one that counts, itself or before it (after it in reverse); and
        whether there is one.
        """
        time = self.shape[0]
        steps = np.arange(time)[:, None]
        if reverse:
            near = np.minimum.accumulate(np.where(self._counts, steps, time)[::-1])[::-1]
        else:
            near = np.maximum.accumulate(np.where(self._counts, steps, -1))
        return near.clip(0, time - 1), (near >= 0) & (near < time)


def lay_out(
    axes: tuple[str, ...],
    shape: tuple[int, ...],
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
) -> Layout | None:
    """Check what a user says about the steps of an input, and lay them out.

    Args:
        axes: The names of the input's axes without the last, in their order: time, and perhaps
            batch.
        shape: Their sizes.
        lengths: The number of steps of each sequence.
        mask: Whether each step counts.
        resets: Whether the state is put back before each step.

    Returns:
        The layout; None if all steps count and no state is put back.

    Raises:
        InputError: One of the arrays has another shape or type, or a length is out of range.
    """
    time = shape[axes.index("time")]
    turned = axes[0] == "batch"

    def turn(array: Array) -> Array:
        return array.T if turned else array.reshape(time, -1)

    if lengths is not None and mask is resets is None and "batch" in axes:
        check_lengths(lengths, axes, shape)
        return _layout_of_lengths(time, np.asarray(lengths).astype(np.int64).tobytes())
    counts = None if mask is None else turn(_booleans("mask", mask, axes, shape))
    if lengths is not None:
        check_lengths(lengths, axes, shape)
        within = np.arange(time)[:, None] < _in_range(np.asarray(lengths), time)
        counts = within if counts is None else counts & within
    if counts is None:
        counts = turn(np.ones(shape, bool))
    back = None if resets is None else turn(_booleans("resets", resets, axes, shape))
    if back is not None and not back.any():
        back = None
    if back is None and counts.all():
        return None
    return _layout(counts.shape, counts.tobytes(), None if back is None else back.tobytes())


@lru_cache(maxsize=LAYOUTS)
def _layout(shape: tuple[int, int], counts: bytes, resets: bytes | None) -> Layout:
    """The layout; the same one for the same steps, so that what follows from them is found."""

    def array(given: bytes) -> Array:
        return np.frombuffer(given, bool).reshape(shape)

    return Layout(array(counts), None if resets is None else array(resets))


@lru_cache(maxsize=LAYOUTS)
def _layout_of_lengths(time: int, lengths: bytes) -> Layout | None:
    """As `_layout`, where the steps that count are the first ones of each sequence; None if all
    count.
    """
    numbers = _in_range(np.frombuffer(lengths, np.int64), time)
    if numbers.min(initial=time) == time:
        return None
    return Layout(np.arange(time)[:, None] < numbers, lengths=numbers)


def check_booleans(what: str, given: Any, axes: tuple[str, ...], shape: tuple[int, ...]) -> None:
    """Check the type and the shape of a mask or of resets.

    Raises:
        InputError: One is not as the input has it.
    """
    kind, found = str(given.dtype), tuple(given.shape)
    if kind.removeprefix("torch.") != "bool":
        raise InputError(
            f"{what}: numbers of the type {kind} were given; expected booleans, as `{what} != 0` "
            "makes them"
        )
    if found != shape:
        raise InputError(
            f"{what}: the shape {found} was given; expected {shape}: ({', '.join(axes)}) as in "
            "the input"
        )


def _booleans(what: str, given: Any, axes: tuple[str, ...], shape: tuple[int, ...]) -> Array:
    check_booleans(what, given, axes, shape)
    return np.asarray(given)


def check_lengths(given: Any, axes: tuple[str, ...], shape: tuple[int, ...]) -> None:
    """Check the type and the shape of lengths.

    Raises:
        InputError: One is not as the input has it.
    """
    if "batch" not in axes:
        raise InputError("lengths were given for one sequence without a batch; slice it instead")
    batch = shape[axes.index("batch")]
    kind, found = str(given.dtype), tuple(given.shape)
    if "int" not in kind or found != (batch,):
        raise InputError(
            f"lengths are {kind} of shape {found}; expected {batch} whole numbers, one for each "
            "sequence"
        )


def _in_range(numbers: Array, time: int) -> Array:
    """Lengths, if no sequence is longer than there are steps."""
    if len(numbers) and (numbers.min() < 0 or numbers.max() > time):
        wrong = numbers[(numbers < 0) | (numbers > time)]
        raise InputError(
            f"a length is {wrong[0]}; the input has {time} steps: expected 0 to {time}"
        )
    return numbers


def check_padding(given: object) -> bool:
    """Whether outputs are carried over steps that do not count; else they are zero there.

    Raises:
        InputError: Neither is asked for.
    """
    if not isinstance(given, str) or given not in PADDINGS:
        raise InputError(f"padding={given!r}; expected 'zero' or 'carry'")
    return given == "carry"
