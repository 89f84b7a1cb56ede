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
# Ends of a function that makes a list `%found`: with it; with None, where it cannot be had; with an
# error, which the interpreter has noted.
LIST_ENDS = """
other:
  call void %call.PyErr_Clear()
  call void %call.Py_IncRef(ptr %call.none)
  ret ptr %call.none
broken:
  call void %call.Py_DecRef(ptr %found)
  br label %failed
failed:
  ret ptr null
end:
  ret ptr %found"""


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
    return Interpreter._make([*map(function_address, found), id(None)])


def function_address(function: Any) -> int:
    """Where a C function is that ctypes has found."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _content(found: bytes) -> bytes:
    return ctypes.string_at(id(found) + DATA, len(found))


def python_function(code: int, words: Sequence[int], kept: object) -> Function:
    """A function of one argument, where there is an `interpreter`.

    Args:
        code: The address of `enter` of a compiled `module_text`.
        words: Its words.
        kept: What lives as long as the function: its code, and whatever its words lead to.
    """
    create = ctypes.pythonapi.PyCFunction_NewEx
    create.argtypes = [ctypes.POINTER(_Method), ctypes.py_object, ctypes.py_object]
    create.restype = ctypes.py_object
    method, own = _Method(b"anyrnn", code, ONE_ARGUMENT, None), interpreter()
    assert own is not None
    words = [*own, *words]
    return create(method, pack(f"={len(words)}q", *words), (method, kept))


def module_text(functions: Sequence[str], numbers: Sequence[str], body: str) -> str:
    """A module of LLVM IR with the code of a function of Python, to be compiled.

    Args:
        functions: The names of its first words: addresses, in the body `%call.NAME`, as are those
            of the `Interpreter`.
        numbers: The names of those that follow, in the body `%NAME`. More begin at `%more`.
        body: The code. It returns a new reference; the argument is `%given`.
    """
    called = (*Interpreter._fields, *functions)
    names = (*called, *numbers)
    pointers = "".join(f"\n  %call.{name} = inttoptr i64 %{name} to ptr" for name in called)
    return f"""
define ptr @enter(ptr %self, ptr %given) {{
entry:
  %words = getelementptr i8, ptr %self, i64 {DATA}{loaded("words", names)}{pointers}
  %more = getelementptr i64, ptr %words, i64 {len(names)}
{body}
}}

define void @enter_alone(ptr %unused) {{
entry:
  ret void
}}"""


def loaded(base: str, names: Sequence[str]) -> str:
    """LLVM IR that loads consecutive words as `%NAME`."""
    return "".join(
        f"\n  %{name}.at = getelementptr i64, ptr %{base}, i64 {index}"
        f"\n  %{name} = load i64, ptr %{name}.at"
        for index, name in enumerate(names)
    )
