"""What torch.compile, torch.export and torch.jit.script have to know of a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import torch

from anyrnn.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])
FUNCTORCH: Any = getattr(torch._C, "_functorch")  # noqa: B009 - it has no type stub
_untraced: Callable[..., Any] | None = None


def constant(function: Function) -> Function:
    """Have a function called when a graph is traced, and what it returns be a constant there.

    This is torch.compiler.assume_constant_result, which would load the compiler.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def _outside_of_the_graph(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@constant
def _make_untraced() -> None:
    """Done when there is something to leave, because torch.compiler.disable loads the compiler."""
    global _untraced
    if _untraced is None:
        _untraced = torch.compiler.disable(_outside_of_the_graph)


def untraced(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function outside the graph that torch.compile is tracing, which ends there."""
    _make_untraced()
    assert _untraced is not None
    return _untraced(function, *arguments)


def leaf_call(module: torch.nn.Module, given: torch.fx.Proxy, state: Any, **named: Any) -> Any:
    """A call of a module that torch.fx traces: one node of its graph, as torch.nn's layers are.

    Raises:
        InputError: The module is all that is traced.
    """
    tracer: Any = given.tracer
    if module is tracer.root:
        raise InputError(
            f"torch.fx traces what calls {type(module).__name__}, which is one node of a graph; "
            "trace a module that contains it"
        )
    path = tracer.path_of_module(module)
    positional = (given,) if state is None else (given, state)
    return tracer.create_proxy("call_module", path, positional, named)


def refuse_script(module: object) -> NoReturn:
    """As a module's `__prepare_scriptable__`, which torch.jit.script calls first."""
    raise InputError(
        f"torch.jit.script reads Python's source only, and {type(module).__name__} of anyrnn runs "
        "compiled kernels; use torch.jit.trace or torch.export.export"
    )
