"""Reads where a framework's arrays begin that are as they have to be, all in one call.

Arrays are asked by the table of C functions that a framework has for that: DLPackExchangeAPI of
https://github.com/dmlc/dlpack (include/dlpack/dlpack.h).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from anyrnn.kernels.cpu.machine.engine import Code, compile_text
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.python_function import (
    LIST_ENDS,
    interpreter,
    loaded,
    module_text,
    python_function,
)

Addresses = Callable[[list[Any]], list[int] | None]
CPU = 1  # kDLCPU, device 0, as one word
MAJOR = 1  # of the interface
CODES = {"i": 0, "f": 2}  # kDLInt, kDLFloat
KINDS = 2  # classes of arrays
WORDS = 14  # of an array from its sizes on, which are looked at
AXES = 3  # of arrays whose sizes are certainly stored in them
BODY = f"""\
  %array = alloca [6 x i64], align 8
  %length = call i64 %call.PyList_Size(ptr %given)
  %fits = icmp eq i64 %length, %count
  br i1 %fits, label %begin, label %other
begin:
  %found = call ptr %call.PyList_New(i64 %count)
  %none.made = icmp eq ptr %found, null
  br i1 %none.made, label %failed, label %next
next:
  %n = phi i64 [ 0, %begin ], [ %n.next, %stored ]
  %here = phi ptr [ %more, %begin ], [ %here.size, %stored ]
  %complete = icmp eq i64 %n, %count
  br i1 %complete, label %end, label %look
look:  ; the class
  %n.next = add i64 %n, 1
  %item = call ptr %call.PyList_GetItem(ptr %given, i64 %n)
  %kind = call ptr %call.PyObject_Type(ptr %item)
  %kind.number = ptrtoint ptr %kind to i64
  call void %call.Py_DecRef(ptr %kind)
  %is.first = icmp eq i64 %kind.number, %first.kind
  %is.second = icmp eq i64 %kind.number, %second.kind
  %known = or i1 %is.first, %is.second
  br i1 %known, label %ask, label %mismatch
ask:
  %refused = call i32 %call.read(ptr %item, ptr %array)
  %answered = icmp eq i32 %refused, 0
  br i1 %answered, label %compare, label %mismatch
compare:  ; the number of axes with the type of an element, the device, the memory
  %type = load i64, ptr %here
  %axes = and i64 %type, 4294967295{
    loaded("array", ("data", "device", "its.type", "shape", "strides", "offset"))
}
  %same.type = icmp eq i64 %its.type, %type
  %same.device = icmp eq i64 %device, {CPU}
  %same = and i1 %same.type, %same.device
  %has.memory = icmp ne i64 %data, 0
  %right = and i1 %same, %has.memory
  br i1 %right, label %sizes, label %mismatch
sizes:
  %its.shape = inttoptr i64 %shape to ptr
  %its.strides = inttoptr i64 %strides to ptr
  %flags.at = getelementptr i8, ptr %its.shape, i64 %flags.place
  %flags = load i64, ptr %flags.at
  %flag = and i64 %flags, %flags.refused
  %as.it.is = icmp eq i64 %flag, 0
  br i1 %as.it.is, label %ordinary, label %mismatch
ordinary:
  %first.size = getelementptr i64, ptr %here, i64 1
  br label %axis
axis:  ; a size, and the stride to the next one, which does not matter where there is none
  %k = phi i64 [ 0, %ordinary ], [ %k.next, %size ]
  %here.size = phi ptr [ %first.size, %ordinary ], [ %here.next, %size ]
  %all = icmp eq i64 %k, %axes
  br i1 %all, label %store, label %size
size:
  %k.next = add i64 %k, 1
  %here.next = getelementptr i64, ptr %here.size, i64 2
  %wanted = load i64, ptr %here.size
  %stride.at = getelementptr i64, ptr %here.size, i64 1
  %wanted.stride = load i64, ptr %stride.at
  %its.size.at = getelementptr i64, ptr %its.shape, i64 %k
  %its.size = load i64, ptr %its.size.at
  %its.stride.at = getelementptr i64, ptr %its.strides, i64 %k
  %its.stride = load i64, ptr %its.stride.at
  %same.size = icmp eq i64 %its.size, %wanted
  %same.stride = icmp eq i64 %its.stride, %wanted.stride
  %single = icmp eq i64 %wanted, 1
  %strided = or i1 %same.stride, %single
  %both = and i1 %same.size, %strided
  br i1 %both, label %axis, label %mismatch
store:
  %address = add i64 %data, %offset
  %pointer = inttoptr i64 %address to ptr
  %number = call ptr %call.PyLong_FromVoidPtr(ptr %pointer)
  %none.left = icmp eq ptr %number, null
  br i1 %none.left, label %broken, label %stored
stored:
  %set = call i32 %call.PyList_SetItem(ptr %found, i64 %n, ptr %number)
  br label %next
mismatch:
  call void %call.Py_DecRef(ptr %found)
  br label %other{LIST_ENDS}"""


class _Version(ctypes.Structure):
    """DLPackVersion."""

    _fields_ = (("major", ctypes.c_uint32), ("minor", ctypes.c_uint32))


class _Table(ctypes.Structure):
    """DLPackExchangeAPI."""

    _fields_ = (
        ("version", _Version),
        ("before", ctypes.c_void_p),
        ("allocate", ctypes.c_void_p),
        ("from_object", ctypes.c_void_p),
        ("to_object", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("current_stream", ctypes.c_void_p),
    )


_Read = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)


@lru_cache(maxsize=1)
def _code() -> Code:
    numbers = "count", "first.kind", "second.kind", "flags.place", "flags.refused"
    text = module_text(("read",), numbers, BODY)
    return compile_text(text, host(), "where arrays begin")


@lru_cache(maxsize=8)
def _function(kind: type) -> int:
    """The function of a class of arrays that describes one of them; 0 if there is none."""
    capsule = getattr(kind, "__dlpack_c_exchange_api__", None)
    if capsule is None or interpreter() is None:
        return 0
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.argtypes, get.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    table = _Table.from_address(get(capsule, b"dlpack_exchange_api"))
    return (table.read or 0) if table.version.major == MAJOR else 0


def flag_of(pairs: Iterable[tuple[Any, Any]]) -> tuple[int, int] | None:
    """Where a framework notes that an array's elements are not what its memory says, such as their
    negatives: DLPack's table does not tell.

    Args:
        pairs: An array of each number of axes, without such a note and with it, else the same.

    Returns:
        How many bytes behind an array's sizes a word begins, and its bit; None if it is not found
        in the same place in all of them.
    """
    found = []
    for pair in pairs:
        words = enumerate(zip(*map(_words, pair), strict=False))
        bits = {(8 * place, before ^ after) for place, (before, after) in words if after > before}
        found.append({(place, bit) for place, bit in bits if bit.bit_count() == 1})
    common = set.intersection(*found)
    return common.pop() if len(common) == 1 else None


def _words(array: Any) -> list[int]:
    """The words of an array from its sizes on; none if it cannot be asked."""
    function, told = _function(type(array)), (ctypes.c_int64 * 6)()
    if not function or _Read(function)(array, ctypes.addressof(told)):
        return []
    return [*(ctypes.c_uint64 * WORDS).from_address(told[3])]


def array_reader(
    kinds: Sequence[type],
    shapes: Sequence[tuple[int, ...]],
    dtypes: Sequence[np.dtype[Any]],
    flag: tuple[int, int] | None = None,
) -> Addresses | None:
    """What tells where arrays begin.

    Args:
        kinds: Their classes, of which the first one has DLPack's table; subclasses do not count.
        shapes: What their shapes are to be.
        dtypes: What their types are to be.
        flag: That of arrays to be refused, if there are such, from `flag_of`.

    Returns:
        A function of a list of arrays: their addresses; None if not each of them is of these
        classes, this shape and type, contiguous, and in memory of the CPU as it is. None if arrays
        cannot be asked.
    """
    function = _function(kinds[0])
    if not function or not {dtype.kind for dtype in dtypes} <= CODES.keys():
        return None
    if flag and max(map(len, shapes), default=0) > AXES:
        return None
    code, classes = _code(), (id(kind) for kind in (*kinds, *kinds)[:KINDS])
    words = [function, len(shapes), *classes, *(flag or (0, 0))]
    for shape, dtype in zip(shapes, dtypes, strict=True):
        kind = CODES[dtype.kind] | 8 * dtype.itemsize << 8 | 1 << 16  # of one element
        words.append(len(shape) | kind << 32)
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        for size, stride in zip(shape, strides, strict=True):
            words += size, stride
    return python_function(code.enter, words, (code, *kinds))
