"""Functions of Python in machine code.

For short kernels, a call through ctypes takes too long. These are built-in functions, as those of
an extension module, made from code at an address with CPython's stable interface.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import pack
from typing import Any, NamedTuple

ONE_ARGUMENT = 0x0008  # METH_O
DATA = bytes.__basicsize__ - 1  # where the content of an object of `bytes` begins in it
Function = Callable[[Any], Any]


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("code", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("description", ctypes.c_char_p),
    )


class Interpreter(NamedTuple):
    """Addresses of functions of the interpreter and, last, of `None`."""

    PyList_Size: int
    PyList_GetItem: int
    PyList_SetItem: int
    PyList_New: int
    PyLong_AsVoidPtr: int
    PyLong_FromVoidPtr: int
    PyObject_Type: int
    Py_IncRef: int
    Py_DecRef: int
    PyErr_Clear: int
    PyEval_SaveThread: int
    PyEval_RestoreThread: int
    none: int


@lru_cache(maxsize=1)
def interpreter() -> Interpreter | None:
    """Those of this interpreter; None if it is not the one whose objects lie as they have to."""
    if sys.implementation.name != "cpython" or _content(probe := b"anyrnn") != probe:
        return None
    found = [getattr(ctypes.pythonapi, name) for name in Interpreter._fields[:-1]]
    addresses = [ctypes.cast(function, ctypes.c_void_p).value or 0 for function in found]
    return Interpreter._make([*addresses, id(None)])


def _content(found: bytes) -> bytes:
    return ctypes.string_at(id(found) + DATA, len(found))


def python_function(code: int, words: Sequence[int], kept: object) -> Function:
    """A function of one argument, where there is an `interpreter`.

    Args:
        code: The address of a C function of two objects: one whose words begin `DATA` bytes behind
            its address, and the argument. It returns a new reference.
        words: The words.
        kept: What lives as long as the function: its code, and whatever its words lead to.
    """
    create = ctypes.pythonapi.PyCFunction_NewEx
    create.argtypes = [ctypes.POINTER(_Method), ctypes.py_object, ctypes.py_object]
    create.restype = ctypes.py_object
    method = _Method(b"anyrnn", code, ONE_ARGUMENT, None)
    return create(method, pack(f"={len(words)}q", *words), (method, kept))


def loaded(base: str, names: Sequence[str]) -> str:
    """LLVM IR that loads consecutive words as `%NAME`."""
    return "".join(
        f"\n  %{name}.at = getelementptr i64, ptr %{base}, i64 {index}"
        f"\n  %{name} = load i64, ptr %{name}.at"
        for index, name in enumerate(names)
    )


def functions(names: Sequence[str]) -> str:
    """LLVM IR that has loaded words of the interpreter as pointers `%call.NAME`."""
    return "".join(f"\n  %call.{name} = inttoptr i64 %{name} to ptr" for name in names)
