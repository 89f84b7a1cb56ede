"""Where arrays begin, asked through DLPack's table of functions, and functions of machine code."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anyrnn.kernels.cpu.machine import array_reader as module
from anyrnn.kernels.cpu.machine import job_entry
from anyrnn.kernels.cpu.machine.array_reader import array_reader, flag_of
from anyrnn.torch import LSTM
from anyrnn.torch.tensors import EXAMPLES, NEGATIVES, address_reader

KINDS = Tensor, nn.Parameter
SHAPES = [(2, 1, 3), (4, 3), (5,), ()]
pytestmark = pytest.mark.skipif(
    not hasattr(Tensor, "__dlpack_c_exchange_api__"), reason="this PyTorch has no such table"
)


def reader(dtype: Any = np.float32) -> Callable[[Any], Any]:
    flag = flag_of(zip(EXAMPLES, NEGATIVES, strict=True))
    found = array_reader(KINDS, SHAPES, [np.dtype(dtype)] * len(SHAPES), flag)
    assert found is not None
    assert flag is not None
    return found


def given() -> list[Any]:
    tensors: list[Any] = [torch.randn(shape) for shape in SHAPES]
    tensors[1] = nn.Parameter(tensors[1])
    return tensors


@pytest.mark.parametrize(("dtype", "own"), [
    (np.float32, torch.float32), (np.float64, torch.float64), (np.int64, torch.int64),
])  # fmt: skip
def test_addresses(dtype: Any, own: torch.dtype) -> None:
    tensors = [torch.zeros(shape, dtype=own) for shape in SHAPES]
    assert reader(dtype)(tensors) == [*map(Tensor.data_ptr, tensors)]
    for other in {np.float32, np.float64, np.int64} - {dtype}:
        assert reader(other)(tensors) is None


class Other(Tensor):
    """Another class of tensors."""


def freed(tensor: Tensor) -> Tensor:
    tensor.untyped_storage().resize_(0)
    return tensor


ODD: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "an array": lambda: np.zeros((4, 3), "f"),
    "another shape": lambda: torch.zeros(3, 4),
    "another number of axes": lambda: torch.zeros(12),
    "half": lambda: torch.zeros(4, 3).half(),
    "bfloat16": lambda: torch.zeros(4, 3).bfloat16(),
    "int32": lambda: torch.zeros(4, 3, dtype=torch.int32),
    "complex": lambda: torch.zeros(4, 3, dtype=torch.cfloat),
    "turned": lambda: torch.zeros(3, 4).T,
    "every other": lambda: torch.zeros(4, 6)[:, ::2],
    "repeated": lambda: torch.zeros(1, 3).expand(4, 3),
    "sparse": lambda: torch.zeros(4, 3).to_sparse(),
    "on meta": lambda: torch.zeros(4, 3, device="meta"),
    "without memory": lambda: freed(torch.zeros(4, 3)),
    "negatives": lambda: torch._neg_view(torch.zeros(4, 3)),
    "zeros without memory": lambda: torch._efficientzerotensor((4, 3)),
    "a subclass": lambda: torch.zeros(4, 3).as_subclass(Other),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_whatever_is_not_as_it_has_to_be(name: str) -> None:
    read, tensors = reader(), given()
    assert read(tensors) is not None
    tensors[1] = ODD[name]()
    assert read(tensors) is None
    assert sys.exc_info() == (None, None, None)


def test_a_flag_that_cannot_be_found() -> None:
    tensors = [torch.zeros(2), torch.zeros(3)]
    assert flag_of([(tensors[0], tensors[0])]) is None
    assert flag_of([(tensors[0], np.zeros(2))]) is None
    assert flag_of(zip(NEGATIVES, EXAMPLES, strict=True)) is None


def test_another_number_and_no_list() -> None:
    read = reader()
    for odd in ([], given()[:-1], [*given(), torch.zeros(1)], (*given(),), None):
        assert read(odd) is None


def test_strides_of_single_elements_do_not_count() -> None:
    tensors = given()
    tensors[0] = torch.zeros(2, 9, 3)[:, :1].contiguous().as_strided((2, 1, 3), (3, 77, 1))
    assert reader()(tensors) == [*map(Tensor.data_ptr, tensors)]


def test_a_parameter_whose_data_was_set() -> None:
    tensors, read = given(), reader()
    for data in (torch.zeros(4, 3), torch.zeros(3, 4), torch.zeros(4, 3).double()):
        tensors[1].data = data
        right = data.shape == (4, 3) and data.dtype == torch.float32
        assert read(tensors) == ([*map(Tensor.data_ptr, tensors)] if right else None)


def test_no_reference_is_kept_or_lost() -> None:
    read, tensors = reader(), given()
    wrong = [*tensors[:2], None, tensors[3]]
    counted = [*tensors, None, Tensor, nn.Parameter]
    before = [*map(sys.getrefcount, counted)]
    for _ in range(100):
        for each in (tensors, wrong, ()):
            read(each)
    assert [*map(sys.getrefcount, counted)] == before


def test_functions_are_collected_with_what_they_keep() -> None:
    functions = [reader() for _ in range(50)]
    functions.append(functions)  # type: ignore[arg-type]  # a cycle
    before = len(gc.get_objects())
    del functions
    gc.collect()
    assert len(gc.get_objects()) < before


def test_without_the_table_or_another_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops in Python find the same."""
    tensors, dtypes = given(), [torch.float32] * len(SHAPES)
    monkeypatch.setattr(module, "_function", lambda kind: 0)
    monkeypatch.setattr(job_entry, "interpreter", lambda: None)
    assert array_reader(KINDS, SHAPES, [np.dtype("f")] * len(SHAPES)) is None
    read = address_reader(SHAPES, dtypes)
    assert read(tensors) == [*map(Tensor.data_ptr, tensors)]
    for name in ("nothing", "half", "turned", "without memory", "negatives", "a subclass"):
        assert read([tensors[0], ODD[name](), *tensors[2:]]) is None
    layer, x = LSTM(3, 37).eval(), torch.randn(1, 2, 3)
    with torch.no_grad():
        found = [layer(x)[0] for _ in range(3)]
        found.append(layer.step(x[0])[0][None])
    monkeypatch.undo()
    with torch.no_grad():
        assert all(torch.equal(each, layer(x)[0]) for each in found)


def test_an_entry_refuses_another_number_of_addresses() -> None:
    words = memoryview(bytearray(64))
    enter = job_entry.job_entry(0, words, 0, 0, 2)
    with pytest.raises(SystemError):
        enter([1])
