"""Parameters that are no longer what the layer made: one line that names them, never their memory
read beyond its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from anyrnn.errors import InputError
from anyrnn.kernels.run import Run
from anyrnn.kernels.run_keys import key
from anyrnn.torch import GRU, LSTM, GRUCell, Recurrent
from anyrnn.torch.execute import forced
from checks import one_line

HIDDEN = 5


def set_data(module: nn.Module, name: str, tensor: Tensor) -> None:
    getattr(module, name).data = tensor


def set_parameter(module: nn.Module, name: str, tensor: Tensor) -> None:
    setattr(module, name, nn.Parameter(tensor, tensor.is_floating_point()))


def set_tensor(module: nn.Module, name: str, tensor: Tensor) -> None:
    delattr(module, name)
    setattr(module, name, tensor)


def set_parametrization(module: nn.Module, name: str, tensor: Tensor) -> None:
    class Other(nn.Module):
        def forward(self, original: Tensor) -> Tensor:
            return tensor

    parametrize.register_parametrization(module, name, Other(), unsafe=True)


CHANGES = [set_data, set_parameter, set_tensor, set_parametrization]
MODULES: dict[str, tuple[Callable[[], nn.Module], str, Tensor]] = {
    "a layer": (lambda: GRU(4, HIDDEN), "weight_hh_l0", torch.zeros(5, 3, 4)),
    "one step": (lambda: GRU(4, HIDDEN), "weight_hh_l0", torch.zeros(1, 3, 4)),
    "a cell": (lambda: GRUCell(4, HIDDEN), "weight_hh", torch.zeros(3, 4)),
    "any cell": (lambda: Recurrent("gru", 4, HIDDEN), "U_l0", torch.zeros(5, 3, 4)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("grad", [True, False])
def test_another_shape(name: str, change: Callable[..., None], grad: bool) -> None:
    make, parameter, x = MODULES[name]
    module = make()
    change(module, parameter, torch.zeros(2, HIDDEN))
    with torch.set_grad_enabled(grad), pytest.raises(InputError) as caught:
        module(x)
    assert one_line(caught.value) == (
        f"the parameter {parameter} has shape (2, {HIDDEN}); expected (15, {HIDDEN})"
    )


OTHERS: dict[str, tuple[Callable[[], Tensor], str]] = {
    "turned": (lambda: torch.zeros(5, 15), "has shape (5, 15); expected (15, 5)"),
    "double": (lambda: torch.zeros(15, 5).double(), "has dtype torch.float64; expected"),
    "half": (lambda: torch.zeros(15, 5).half(), "has dtype torch.float16; expected"),
    "complex": (lambda: torch.zeros(15, 5, dtype=torch.cfloat), "has dtype torch.complex64"),
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.zeros(15, 5), 0.1, 0, torch.qint8),
        "has dtype torch.qint8",
    ),
    "meta": (lambda: torch.zeros(15, 5, device="meta"), "is on meta; expected cpu"),
    "sparse": (lambda: torch.zeros(15, 5).to_sparse(), "is torch.sparse_coo; convert it with"),
    "CSR": (lambda: torch.zeros(15, 5).to_sparse_csr(), "is torch.sparse_csr; convert it with"),
    "nested": (lambda: torch.nested.nested_tensor([torch.zeros(15, 5)]), "has nested sizes"),
}


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.filterwarnings("ignore:Sparse", "ignore:.*nested tensors", "ignore:.*quant")
def test_another_type_or_layout(other: str, steps: int, grad: bool) -> None:
    layer, (make, message) = GRU(4, 5), OTHERS[other]
    set_tensor(layer, "weight_hh_l0", make())
    with torch.set_grad_enabled(grad), pytest.raises(InputError) as caught:
        layer(torch.zeros(steps, 3, 4))
    assert f"the parameter weight_hh_l0 {message}" in one_line(caught.value)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_storage_that_was_freed(steps: int, grad: bool) -> None:
    layer = GRU(4, 5)
    layer.weight_hh_l0.untyped_storage().resize_(0)
    with (
        torch.set_grad_enabled(grad),
        pytest.raises(InputError, match="the parameter weight_hh_l0 has no memory"),
    ):
        layer(torch.zeros(steps, 3, 4))


@pytest.mark.parametrize("given", [None, "text"])
def test_no_tensor(given: object) -> None:
    layer = Recurrent("gru", 4, 5)
    del layer.U_l0
    layer.U_l0 = given
    with pytest.raises(InputError, match=r"the parameter U_l0 is .*; expected a tensor"):
        layer(torch.zeros(4, 3, 4))


def test_another_shape_on_the_path_of_operations_where_it_would_be_broadcast() -> None:
    layer = Recurrent("gru", 4, 5)
    set_parameter(layer, "b_l0", torch.zeros(1))
    with forced("operations"), pytest.raises(InputError) as caught:
        layer(torch.zeros(4, 3, 4))
    assert one_line(caught.value) == "the parameter b_l0 has shape (1,); expected (15,)"


def test_another_shape_in_functional_call_and_under_vmap() -> None:
    layer, x = GRU(4, 5), torch.zeros(4, 3, 4)
    with pytest.raises(InputError, match=r"weight_hh_l0 has shape \(1,\); expected \(15, 5\)"):
        functional_call(layer, {"weight_hh_l0": torch.zeros(1)}, (x,))

    def mapped(weight: Tensor) -> Tensor:
        return functional_call(layer, {"weight_hh_l0": weight}, (x,))[0]

    assert torch.vmap(mapped)(torch.zeros(2, 15, 5)).shape == (2, 4, 3, 5)
    with pytest.raises(InputError, match=r"weight_hh_l0 has shape \(3, 5\); expected \(15, 5\)"):
        torch.vmap(mapped)(torch.zeros(2, 3, 5))


@pytest.mark.parametrize("grad", [True, False])
def test_views_and_repeated_numbers_are_read_as_they_are(grad: bool) -> None:
    torch.manual_seed(0)
    for make in (
        lambda: torch.randn(5, 15).T,
        lambda: torch.randn(1, 5).expand(15, 5),
        lambda: torch.randn(30, 10)[::2, ::2],
        lambda: torch.randn(40).as_strided((15, 5), (1, 2)),
        lambda: torch.randn(15, 5, requires_grad=True) * 2,
    ):
        ours, theirs, weight = GRU(4, 5), nn.GRU(4, 5), make()
        ours.load_state_dict(theirs.state_dict())
        set_tensor(ours, "weight_hh_l0", weight)
        theirs.weight_hh_l0.data = weight.detach().contiguous()
        for x in (torch.randn(4, 3, 4), torch.randn(1, 3, 4)):
            with torch.set_grad_enabled(grad):
                assert torch.allclose(ours(x)[0], theirs(x)[0], atol=1e-6)


# after the forward pass


CHANGED = {
    "another shape": lambda: torch.zeros(2, HIDDEN),
    "a narrower type": lambda: torch.zeros(3 * HIDDEN, HIDDEN, dtype=torch.float16),
}


@pytest.mark.parametrize("changed", CHANGED)
@pytest.mark.parametrize("memory", ["high", "low"])
def test_a_parameter_changed_before_the_backward_pass(changed: str, memory: str) -> None:
    layer = GRU(4, HIDDEN, memory=memory)
    output, _ = layer(torch.zeros(5, 3, 4))
    layer.weight_hh_l0.data = CHANGED[changed]()
    with pytest.raises(InputError, match=r"the parameter weight_hh_l0 has .* was changed"):
        output.sum().backward()


def test_a_cells_parameter_changed_before_the_backward_pass() -> None:
    module = GRUCell(4, HIDDEN)
    state = module(torch.zeros(3, 4))
    module.weight_ih.data = torch.zeros(1)
    with pytest.raises(InputError, match=r"the parameter weight_ih has .* was changed"):
        state.sum().backward()


def first(tensor: Tensor) -> Tensor:
    """The first number along each axis."""
    return tensor[(slice(1),) * tensor.dim()]


def test_what_was_saved_comes_back_in_another_size() -> None:
    layer, refused = LSTM(4, HIDDEN), 0
    for place in range(1, 20):
        taken: list[Tensor] = []

        def pack(tensor: Tensor, place: int = place, taken: list[Tensor] = taken) -> Tensor:
            taken.append(tensor)
            return first(tensor) if len(taken) == place else tensor

        x = torch.zeros(5, 3, 4, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output, _ = layer(x)
        try:
            output.sum().backward()
        except InputError:
            refused += 1
    assert refused > len(taken) // 2  # the others are not read
    assert len(taken) < 20


# operators of a graph


def operator(parameters: list[Tensor], time: int = 4) -> dict[str, Any]:
    """The arguments of `anyrnn::run`, with some of the parameters replaced."""
    layer = Recurrent("gru", 4, HIDDEN)
    part = layer._made().first
    given = [getattr(layer, f"{stored.name}_l0") for stored in part.cell.parameters]
    given[: len(parameters)] = parameters
    return {
        "x": torch.zeros(time, 3, 4),
        "states": [torch.zeros(3, HIDDEN)],
        "parameters": given,
        "seed": None,
        "key": key(Run(part.cell, part.size_items)),
    }


@pytest.mark.parametrize("time", [1, 4])
@pytest.mark.parametrize("name", ["run", "record"])
def test_operators_look_at_what_they_are_given(name: str, time: int) -> None:
    called, small = getattr(torch.ops.anyrnn, name), torch.zeros(1, 1)
    changes: list[tuple[dict[str, Any], str]] = [
        (operator([small], time), "parameter W has shape (1, 1)"),
        (
            operator([torch.zeros(3 * HIDDEN, 4).half()], time),
            "parameter W has dtype torch.float16",
        ),
        (operator([], time) | {"states": [small]}, "state h has shape (1, 1)"),
        (operator([], time) | {"x": torch.zeros(time, 3, 1)}, "input x has shape"),
        (operator([], time) | {"x": torch.zeros(time, 3, 4).half()}, "input is torch.float16"),
    ]
    for arguments, message in changes:
        with torch.no_grad(), pytest.raises(InputError) as caught:
            called(**arguments)
        assert message in one_line(caught.value)


def test_the_operator_of_the_derivative_looks_at_what_it_is_given() -> None:
    arguments = operator([])
    output, last, *kept = torch.ops.anyrnn.record(**arguments)
    for given, message in (
        ({"residuals": [*map(first, kept)]}, "has shape"),
        ({"parameters": [torch.zeros(1, 1)] * len(arguments["parameters"])}, "parameter"),
        ({"gradients": [output, last[:1]]}, "has shape"),
        ({"gradients": [output[..., :1], last]}, "has shape"),
    ):
        changed = {**arguments, "residuals": kept, "gradients": [output, last]}
        changed["wanted"] = [True] * (2 + len(arguments["parameters"]))
        with torch.no_grad(), pytest.raises(InputError) as caught:
            torch.ops.anyrnn.backward(**{**changed, **given})
        assert message in one_line(caught.value)


# after calls with tensors of the same kind


@pytest.mark.parametrize("name", ["one step", "a layer", "a cell"])
@pytest.mark.parametrize("grad", [True, False])
def test_calls_that_came_before_hide_no_change(name: str, grad: bool) -> None:
    make, parameter, x = MODULES[name]
    module, fresh = make(), make()
    x = torch.randn(x.shape)

    def results(of: nn.Module) -> Tensor:
        with torch.set_grad_enabled(grad):
            return torch.cat([part.flatten().detach() for part in of(x)])

    def as_fresh() -> None:
        fresh.load_state_dict(module.state_dict())
        assert torch.equal(results(module), results(fresh))

    for _ in range(3):
        as_fresh()
    own = getattr(module, parameter)
    with torch.no_grad():
        own.mul_(2)
    as_fresh()
    own.data = torch.randn(own.shape)
    as_fresh()
    own.data = torch.randn(own.shape[::-1]).T  # not contiguous
    as_fresh()
    own.data.numpy()[...] = 0.5
    as_fresh()
    set_parameter(module, parameter, torch.randn(own.shape))
    as_fresh()
    for other, message in (
        (torch.zeros(2, HIDDEN), "has shape"),
        (own.detach().double(), "has dtype"),
        (own.detach().T, "has shape"),
    ):
        before = getattr(module, parameter).data
        set_data(module, parameter, other)
        with pytest.raises(InputError, match=f"the parameter {parameter} {message}"):
            results(module)
        set_data(module, parameter, before)
        as_fresh()
    getattr(module, parameter).untyped_storage().resize_(0)
    with pytest.raises(InputError, match=f"the parameter {parameter} has no memory"):
        results(module)
