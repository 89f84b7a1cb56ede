"""A Python function as a handler of XLA's foreign function interface (FFI).

XLA calls a handler on any of its threads with a call frame, whose layout is that of
`xla/ffi/api/c_api.h`; the major version of the interface tells whether it still is. Why not
jax.pure_callback: it makes JAX arrays of the arguments, which needs a thread of JAX's own pool, so
that callbacks on all threads of a small pool deadlock.

A call in flight while the process exits would wait for the interpreter lock, whose holder waits for
JAX. So calls enter through machine code, which counts those in flight and, once the process exits,
returns without calling Python.
"""

from __future__ import annotations

import atexit
import ctypes
import time
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import jax
import numpy as np

from anyrnn.errors import AnyrnnError
from anyrnn.kernels.host import compile_module
from anyrnn.kernels.run import Array

MAJOR, MINOR = 0, 1
METADATA = 1  # XLA_FFI_Extension_Metadata: XLA asks for the version
EXECUTE = 3  # XLA_FFI_ExecutionStage_EXECUTE
INVALID_ARGUMENT, CANCELLED, INTERNAL = 3, 1, 13  # XLA_FFI_Error_Code
TYPES = {
    1: np.bool_,
    4: np.int32,
    5: np.int64,
    8: np.uint32,
    9: np.uint64,
    11: np.float32,
    12: np.float64,
}

Handler = Callable[[str, list[Array], list[Array]], None]
_Words = cache(lambda count: ctypes.c_int64 * count)


class _Struct(ctypes.Structure):
    """What most structures of the interface begin with."""

    _fields_ = (("struct_size", ctypes.c_size_t), ("extension", ctypes.c_void_p))


class _List(_Struct):
    """XLA_FFI_Args and XLA_FFI_Rets, which have the same layout."""

    _fields_ = (
        ("size", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("items", ctypes.c_void_p),
    )


class _Attributes(_Struct):
    """XLA_FFI_Attrs."""

    _fields_ = (
        ("size", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("names", ctypes.c_void_p),
        ("items", ctypes.c_void_p),
    )


class _Frame(_Struct):
    """XLA_FFI_CallFrame."""

    _fields_ = (
        ("api", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("arguments", _List),
        ("results", _List),
        ("attributes", _Attributes),
    )


class _Buffer(_Struct):
    """XLA_FFI_Buffer."""

    _fields_ = (
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("sizes", ctypes.c_void_p),
    )


class _Extension(ctypes.Structure):
    """XLA_FFI_Metadata_Extension."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.c_void_p),
    )


class _Version(_Struct):
    """XLA_FFI_Api_Version."""

    _fields_ = (
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
    )


class _Metadata(ctypes.Structure):
    """XLA_FFI_Metadata."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("version", _Version),
        ("traits", ctypes.c_uint32),
    )


class _Api(_Struct):
    """XLA_FFI_Api, up to the function that makes errors."""

    _fields_ = (
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("create_error", ctypes.c_void_p),
    )


class _Error(_Struct):
    """XLA_FFI_Error_Create_Args."""

    _fields_ = (
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    )


_Create = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Error))
_Called = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


ENDED, ACTIVE, FUNCTION = range(3)  # words of @state: exiting; calls in flight; the function

# Python writes the address of its error, or null, to %error.at, which holds its own address before:
# if it still does, a signal interrupted the function before it could write.
TEXT = f"""@state = internal global [3 x i64] zeroinitializer, align 8
@message = internal constant [12 x i8] c"interrupted\\00"

define ptr @enter(ptr %frame) {{
entry:
  %error.at = alloca ptr, align 8
  %arguments = alloca {{ i64, ptr, ptr, i64 }}, align 8
  %ended.at = getelementptr i64, ptr @state, i64 {ENDED}
  %active.at = getelementptr i64, ptr @state, i64 {ACTIVE}
  %function.at = getelementptr i64, ptr @state, i64 {FUNCTION}
  %before = atomicrmw add ptr %active.at, i64 1 seq_cst
  %ended = load atomic i64, ptr %ended.at seq_cst, align 8
  %open = icmp eq i64 %ended, 0
  br i1 %open, label %call, label %leave
call:
  store ptr %error.at, ptr %error.at, align 8
  %function = load ptr, ptr %function.at, align 8
  call void %function(ptr %frame, ptr %error.at)
  %error = load ptr, ptr %error.at, align 8
  %interrupted = icmp eq ptr %error, %error.at
  br i1 %interrupted, label %make, label %leave
make:
  store {{ i64, ptr, ptr, i64 }} {{
    i64 {ctypes.sizeof(_Error)}, ptr null, ptr @message, i64 {CANCELLED}
  }}, ptr %arguments, align 8
  %api.at = getelementptr i8, ptr %frame, i64 {_Frame.api.offset}
  %api = load ptr, ptr %api.at, align 8
  %create.at = getelementptr i8, ptr %api, i64 {_Api.create_error.offset}
  %create = load ptr, ptr %create.at, align 8
  %made = call ptr %create(ptr %arguments)
  br label %leave
leave:
  %result = phi ptr [ null, %entry ], [ %error, %call ], [ %made, %make ]
  %after = atomicrmw sub ptr %active.at, i64 1 seq_cst
  ret ptr %result
}}

define ptr @enter_alone() {{
entry:
  ret ptr @state
}}"""


def _arrays(given: Any) -> list[Array]:
    """The buffers of a list as arrays, valid during the call."""
    found = []
    for place in _Words(given.size).from_address(given.items) if given.size else ():
        buffer = _Buffer.from_address(place)
        shape = tuple(_Words(buffer.rank).from_address(buffer.sizes)) if buffer.rank else ()
        dtype = np.dtype(TYPES[buffer.dtype])
        size = prod(shape) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(buffer.data) if size else None
        found.append(np.ndarray(shape, dtype, memory))  # type: ignore[arg-type]
    return found


def _text(attributes: Any) -> str:
    """The only attribute, a string."""
    (place,) = _Words(1).from_address(attributes.items)
    address, length = _Words(2).from_address(place)
    return ctypes.string_at(address, length).decode()


def _error(frame: Any, code: int, message: str) -> int:
    """The address of a new error, which XLA owns."""
    api = _Api.from_address(frame.api)
    said = _Error(ctypes.sizeof(_Error), None, message.encode(), code)
    return _Create(api.create_error)(ctypes.byref(said))


def _tell_version(place: int) -> None:
    """Answer XLA's question for which version of the interface the handler is written."""
    extension = _Extension.from_address(place)
    if extension.type == METADATA:
        metadata = _Metadata.from_address(extension.metadata)
        metadata.version.major, metadata.version.minor = MAJOR, MINOR
        metadata.traits = 0


def _answer(handler: Handler, frame: Any) -> int | None:
    """Handle a call; the address of an error, None if there is none."""
    if frame.extension:
        _tell_version(frame.extension)
        return None
    if frame.stage != EXECUTE:
        return None
    try:
        handler(_text(frame.attributes), _arrays(frame.arguments), _arrays(frame.results))
    except AnyrnnError as error:
        return _error(frame, INVALID_ARGUMENT, str(error))
    except KeyboardInterrupt:
        return _error(frame, CANCELLED, "interrupted")
    except BaseException as error:
        return _error(frame, INTERNAL, f"{type(error).__name__}: {error}")
    return None


def register(name: str, handler: Handler) -> None:
    """Register a function as an FFI target for CPUs.

    Args:
        name: The name of the target in `jax.ffi.ffi_call`, which passes one attribute, a string.
        handler: The function, which is given the string, the arguments and the results to fill in;
            arrays are valid during the call. What it raises becomes an error of JAX.
    """

    def called(place: int, answer: int) -> None:
        _Words(1).from_address(answer)[0] = _answer(handler, _Frame.from_address(place)) or 0

    function = _Called(called)
    code = compile_module(TEXT, "calls from XLA")
    state = _Words(3).from_address(ctypes.CFUNCTYPE(ctypes.c_void_p)(code.enter_alone)())
    state[FUNCTION] = ctypes.cast(function, ctypes.c_void_p).value
    _registered.append((function, code))
    atexit.register(_end, state)
    target = jax.ffi.pycapsule(code.enter)
    jax.ffi.register_ffi_target(name, target, platform="cpu", api_version=1)


def _end(state: Any) -> None:
    """Let no more calls in, and wait for those in flight."""
    state[ENDED] = 1
    while state[ACTIVE]:
        time.sleep(0.001)


_registered: list[Any] = []  # keeps alive what XLA calls by address
