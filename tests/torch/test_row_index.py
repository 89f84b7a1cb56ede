"""Packed rows are gathered from an array and scattered into one."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jvp, vmap

from anyrnn.torch.packed_rows import RowIndex

PLACES = [4, 0, 3]
INDEX = RowIndex(torch.tensor(PLACES), 6)
LARGE = 40_000  # features: memory of a size that is kept and used again


def test_rows_are_gathered_and_scattered() -> None:
    for features in (0, 1, 7, LARGE):
        array = torch.randn(6, features)
        rows = INDEX.gather(array)
        assert torch.equal(rows, array[PLACES])
        rows.fill_(float("nan"))
        del rows  # the next ones get this memory
        scattered = INDEX.scatter(array[:3])
        assert torch.equal(scattered[PLACES], array[:3])
        assert torch.equal(scattered[[1, 2, 5]], torch.zeros(3, features))


def test_all_rows_and_none() -> None:
    array = torch.randn(3, 2)
    for places in ([], [2, 0, 1]):
        index = RowIndex(torch.tensor(places, dtype=torch.int64), 3)
        wanted = torch.zeros(3, 2)
        wanted[places] = array[places]
        assert torch.equal(index.scatter(index.gather(array)), wanted)


def test_both_are_differentiated_as_often_as_asked() -> None:
    array = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    for function, given in ((INDEX.gather, array), (INDEX.scatter, rows)):
        assert gradcheck(function, (given,))
        assert gradgradcheck(lambda x, move=function: move(x).square(), (given,))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own
def test_transforms_of_functions_see_operations() -> None:
    arrays = torch.randn(2, 6, 3)
    assert torch.equal(vmap(INDEX.gather)(arrays), arrays[:, PLACES])
    rows = arrays[:, :3]
    assert torch.equal(
        vmap(INDEX.scatter)(rows), torch.stack([INDEX.scatter(part) for part in rows])
    )
    tangent = jvp(INDEX.scatter, (rows[0],), (rows[1],))[1]
    assert torch.equal(tangent, INDEX.scatter(rows[1]))
