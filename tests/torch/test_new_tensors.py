"""Tensors that are made several at a time: as those that PyTorch's own functions make."""

from __future__ import annotations

import gc
import io
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from anyrnn.torch import LSTM, new_tensors
from anyrnn.torch.new_tensors import tensor_maker
from anyrnn.torch.tensors import list_maker

SHAPES = [(1, 2, 3), (4,), (), (2, 0, 3)]


@pytest.fixture
def make() -> Any:
    found = tensor_maker(SHAPES, torch.float32)
    if found is None:
        pytest.skip("this PyTorch makes them one by one")
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("inference", [False, True])
def test_they_are_as_those_of_empty(dtype: torch.dtype, inference: bool, make: Any) -> None:
    maker = tensor_maker(SHAPES, dtype)
    assert maker is not None
    with torch.inference_mode(inference):
        found, wanted = maker(None), [torch.empty(shape, dtype=dtype) for shape in SHAPES]
    assert found is not None

    def told(tensor: Tensor) -> list[Any]:
        size = tensor.untyped_storage().nbytes()
        flags = tensor.requires_grad, tensor.is_leaf, tensor.is_inference(), tensor._is_view()
        kind = type(tensor), tensor.dtype, tensor.device, tensor.layout
        return [tensor.shape, tensor.stride(), tensor.storage_offset(), size, *flags, *kind]

    assert [*map(told, found)] == [*map(told, wanted)]
    starts = [tensor.untyped_storage().data_ptr() for tensor in found[:3]]
    assert len({*starts}) == 3


def test_what_a_caller_may_do_with_them(make: Any) -> None:
    first, second, third, _ = make(None)
    first.fill_(1).mul_(2)
    assert first._version == 2
    assert second._version == third._version == 0
    first.detach_().resize_(50).zero_()
    second.fill_(3).requires_grad_()
    (second * second).sum().backward()
    assert second.grad.tolist() == [6.0] * 4
    file = io.BytesIO()
    torch.save(second, file)
    assert file.tell() < 4000
    file.seek(0)
    assert torch.equal(torch.load(file), second)


def test_references_and_memory(make: Any) -> None:
    counted = [None, Tensor]
    gc.collect()
    before = [*map(sys.getrefcount, counted)]
    for _ in range(1000):
        assert all(sys.getrefcount(tensor) == 3 for tensor in make(None))
    after = [*map(sys.getrefcount, counted)]
    assert all(abs(a - b) < 500 for a, b in zip(after, before, strict=True))
    kept = make(None)[0].fill_(5)
    others = [make(None)[0].zero_() for _ in range(100)]
    assert kept.eq(5).all()
    assert len(others) == 100


def test_no_memory(make: Any) -> None:
    huge = tensor_maker([(3,), (1 << 60,)], torch.float32)
    assert huge is not None
    assert huge(None) is None


def test_one_by_one_where_this_is_not_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = LSTM(3, 41).eval(), torch.randn(1, 2, 3)
    with torch.no_grad():
        wanted = [layer(x) for _ in range(3)][-1]
    monkeypatch.setattr(new_tensors, "_interface", lambda: None)
    float32, int64 = np.dtype("f"), np.dtype("i8")
    for kinds in ([float32] * 4, [float32, int64, float32, float32]):
        found = list_maker(SHAPES, kinds)()
        assert [tuple(tensor.shape) for tensor in found] == SHAPES
        assert [tensor.dtype for tensor in found][1] == (
            torch.int64 if int64 in kinds else torch.float32
        )
    layer._forget()
    with torch.no_grad():
        for _ in range(3):
            output, (h, c) = layer(x)
            assert torch.equal(output, wanted[0])
            assert torch.equal(h, wanted[1][0])
            assert torch.equal(c, wanted[1][1])
