"""Rows taken out of an array, and put back where they were."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jvp, vmap

from anyrnn.torch.moves import Moves

PLACES = [4, 0, 3]
MOVES = Moves(torch.tensor(PLACES), 6)
LARGE = 40_000  # features: memory of a size that is kept and used again


def test_rows_are_taken_and_put_back() -> None:
    for features in (0, 1, 7, LARGE):
        array = torch.randn(6, features)
        rows = MOVES.take(array)
        assert torch.equal(rows, array[PLACES])
        rows.fill_(float("nan"))
        del rows  # the next ones get this memory
        spread = MOVES.spread(array[:3])
        assert torch.equal(spread[PLACES], array[:3])
        assert torch.equal(spread[[1, 2, 5]], torch.zeros(3, features))


def test_all_rows_and_none() -> None:
    array = torch.randn(3, 2)
    for places in ([], [2, 0, 1]):
        moves = Moves(torch.tensor(places, dtype=torch.int64), 3)
        wanted = torch.zeros(3, 2)
        wanted[places] = array[places]
        assert torch.equal(moves.spread(moves.take(array)), wanted)


def test_both_are_differentiated_as_often_as_asked() -> None:
    array = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    for function, given in ((MOVES.take, array), (MOVES.spread, rows)):
        assert gradcheck(function, (given,))
        assert gradgradcheck(lambda x, move=function: move(x).square(), (given,))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own
def test_transforms_of_functions_see_operations() -> None:
    arrays = torch.randn(2, 6, 3)
    assert torch.equal(vmap(MOVES.take)(arrays), arrays[:, PLACES])
    rows = arrays[:, :3]
    assert torch.equal(vmap(MOVES.spread)(rows), torch.stack([MOVES.spread(part) for part in rows]))
    tangent = jvp(MOVES.spread, (rows[0],), (rows[1],))[1]
    assert torch.equal(tangent, MOVES.spread(rows[1]))
