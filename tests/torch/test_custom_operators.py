"""Layers in graphs that torch.compile and torch.export trace."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils.rnn import pack_padded_sequence

import anyrnn
from anyrnn.errors import CellError, InputError
from anyrnn.kernels import run_keys
from anyrnn.kernels.run import Run
from anyrnn.torch import LSTM, GRUCell, Recurrent, custom_operators
from anyrnn.torch.execute import forced
from anyrnn.transforms.bias import without_bias
from checks import Case, close, make_case, one_line, to_torch
from invented_cells import INVENTED

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")


@pytest.fixture(autouse=True)
def fresh() -> Any:
    """torch asks for this option, to trace a subclass of its layers."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        yield


class Model(nn.Module):
    """A layer between others."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.last = layer, nn.Linear(width, 2, dtype=torch.float64)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        output, last = self.layer(x.sin(), state)
        return self.last(output.relu()), last


MODELS: dict[str, Callable[[], Model]] = {
    "recurrent": lambda: Model(
        Recurrent("lstm_peephole", 3, 5, bidirectional=True, dtype=torch.float64), 10
    ),
    "lstm": lambda: Model(LSTM(3, 5, batch_first=True, memory="low", dtype=torch.float64), 5),
}


class Backend:
    """A backend that notes the operators of the graphs it gets."""

    def __init__(self) -> None:
        self.graphs: list[list[str]] = []

    def __call__(self, module: torch.fx.GraphModule, examples: list[Any]) -> Any:
        targets = [str(node.target) for node in module.graph.nodes]
        self.graphs.append([name for name in targets if name.startswith("anyrnn")])
        return torch._dynamo.lookup_backend("aot_eager")(module, examples)


def results(call: Callable[..., Any], model: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs, last states and all gradients."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    output, last = call(x)
    states = last if isinstance(last, tuple) else (last,)
    (output.square().sum() + sum(state.sin().sum() for state in states)).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return [output, *states, x.grad, *gradients]  # type: ignore[list-item]


@pytest.mark.parametrize("name", MODELS)
def test_compiled_whole_for_all_sizes(name: str) -> None:
    torch.manual_seed(0)
    model, backend = MODELS[name](), Backend()
    compiled = torch.compile(model, fullgraph=True, backend=backend, dynamic=True)
    counts = []
    for shape in ((4, 2, 3), (7, 3, 3), (3, 6, 3)):
        x = torch.randn(*shape, dtype=torch.float64)
        torch.testing.assert_close(results(compiled, model, x), results(model, model, x))
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), model(x))
        counts.append(len(backend.graphs))
    assert counts[0] == counts[-1]
    layers = 2 if name == "recurrent" else 1
    assert ["anyrnn.run.default"] * layers in backend.graphs
    assert ["anyrnn.record.default"] * layers in backend.graphs


def test_initial_states_frozen_parameters_and_unbatched_inputs() -> None:
    torch.manual_seed(0)
    layer = LSTM(3, 5, num_layers=2, dtype=torch.float64)
    layer.weight_hh_l0.requires_grad_(False)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for shape in ((4, 3), (4, 2, 3)):
        x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        given = [torch.randn(2, *shape[1:-1], 5, dtype=torch.float64) for _ in range(2)]
        leaves = [x, *(state.requires_grad_() for state in given), layer.bias_ih_l1]
        found = []
        for call in (compiled, layer):
            output, (h, c) = call(x, tuple(given))
            loss = (output * output).sum() + h.sum() - c.sum()
            found.append([output, h, c, *torch.autograd.grad(loss, leaves)])
        torch.testing.assert_close(*found)


def test_a_changed_layer_is_traced_again() -> None:
    torch.manual_seed(0)
    layer = Recurrent("gru", 3, 5)
    x, backend = torch.randn(4, 2, 3), Backend()
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    for memory in ("high", "low"):
        layer.memory = memory
        torch.testing.assert_close(compiled(x), layer(x))
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), layer(x))
    assert [names[0] for names in backend.graphs] == [
        "anyrnn.record.default",
        "anyrnn.record.default",
        "anyrnn.run.default",
    ]


def test_single_steps() -> None:
    torch.manual_seed(0)
    for layer, x in (
        (GRUCell(3, 5), torch.randn(2, 3)),
        (LSTM(3, 5), torch.randn(1, 2, 3)),
    ):
        backend = Backend()
        compiled = torch.compile(layer, fullgraph=True, backend=backend)
        torch.testing.assert_close(compiled(x), layer(x))
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), layer(x))
        assert backend.graphs == [["anyrnn.record.default"], ["anyrnn.run.default"]]


def test_what_is_no_operator_ends_the_graph() -> None:
    torch.manual_seed(0)
    layer = LSTM(3, 5)
    x, lengths = torch.randn(4, 3, 3), [4, 1, 3]
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    calls: list[Callable[[Any], Any]] = [
        lambda layer: layer(x, lengths=lengths)[0],
        lambda layer: layer(packed)[0].data,
    ]
    for call in calls:
        backend = Backend()
        compiled = torch.compile(lambda layer, call=call: call(layer) + 1, backend=backend)
        with torch.no_grad():
            torch.testing.assert_close(compiled(layer), call(layer) + 1)
        assert not any(backend.graphs)
    with forced("operations"), pytest.raises(RuntimeError, match="_outside_of_the_graph"):
        torch.compile(layer, fullgraph=True, backend="eager")(x)


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_inductor() -> None:
    torch.manual_seed(0)
    model = MODELS["lstm"]()
    compiled = torch.compile(model, fullgraph=True)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    with torch._inductor.config.patch({"cpp.vec_isa_ok": True}):  # a program that tries costs 2 s
        torch.testing.assert_close(results(compiled, model, x), results(model, model, x))


def operands(case: Case, memory: str = "high", reverse: bool = False) -> tuple[Any, ...]:
    """What an operator takes for a case."""
    key = run_keys.key(Run(case.cell, tuple(case.sizes.items()), reverse, memory))
    x, states, parameters = to_torch(case.x, case.states, case.parameters)
    return x, states, list(parameters.values()), key


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operators_are_what_torch_expects(dtype: str) -> None:
    case = make_case(anyrnn.get("lstm"), 0, smallest=2).as_type(dtype)
    x, states, parameters, key = operands(case)
    results = custom_operators.record(x, states, parameters, None, key)
    given = [torch.randn_like(part) for part in results[:3]]
    wanted = [True, False, True, True, True, False]
    arguments = (x, states, parameters, None, key, results[3:], given, wanted)
    torch.library.opcheck(torch.ops.anyrnn.backward.default, arguments)
    for tensor in (x, *states, *parameters):
        tensor.requires_grad_()
    for name in ("run", "record"):
        found = getattr(torch.ops.anyrnn, name).default
        torch.library.opcheck(found, (x, states, parameters, None, key))


CASES = {name: INVENTED[name] for name in ("ties", "classifier", "shared_result", "of_numbers")}
CASES |= {name: anyrnn.get(name) for name in ("lstm", "rnn_output")}


@pytest.mark.parametrize("memory", ["high", "low"])
@pytest.mark.parametrize("name", CASES)
def test_operators_of_cells(name: str, memory: str) -> None:
    case = make_case(CASES[name], 3)
    for reverse in (False, True):
        turned = case
        if reverse:
            gradient = case.output_gradient[::-1]
            turned = replace(case, x=case.x[::-1], output_gradient=gradient)
        wanted, gradients = turned.interpret(), turned.gradients()
        x, states, parameters, key = operands(case, memory, reverse)
        given = [x, *states, *parameters]
        plain = custom_operators.run(x, states, parameters, None, key)
        for tensor in given:
            tensor.requires_grad_()
        recorded = custom_operators.record(x, states, parameters, None, key)
        places = [part.untyped_storage().data_ptr() for part in (*given, *recorded)]
        assert len(places) == len(set(places))
        weights = [torch.tensor(g) for g in (case.output_gradient, *case.state_gradients)]
        for results in (recorded, custom_operators.run(x, states, parameters, None, key)):
            loss = sum((a * b).sum() for a, b in zip(results, weights, strict=False))
            found = torch.autograd.grad(loss, given)  # type: ignore[arg-type]
            expected = [gradients.x[:: -1 if reverse else 1], *gradients.states]
            expected += gradients.parameters.values()
            for ours, theirs in zip(found, expected, strict=True):
                close(ours, theirs, 1e-10)
            output, *last = (part.detach() for part in results[: len(plain)])
            close(output, wanted.output[:: -1 if reverse else 1], 1e-12)
            for ours, theirs in zip(last, wanted.states, strict=True):
                close(ours, theirs, 1e-12)
            torch.testing.assert_close(plain, [output, *last], rtol=0, atol=1e-14)


def test_an_empty_batch_and_no_time() -> None:
    x, states, parameters, key = operands(make_case(anyrnn.get("lstm"), 0))
    nothing, empty = x[:, :0], [state[:0] for state in states]
    given = [nothing, *empty, *parameters]
    for tensor in given:
        tensor.requires_grad_()
    for found in (custom_operators.run, custom_operators.record):
        results = found(nothing, empty, parameters, None, key)
        assert results[0].shape[:2] == (len(x), 0)
        for gradient in torch.autograd.grad(results[0].sum(), given):
            assert not gradient.any()
    with pytest.raises(InputError, match="sequence length of 0; expected at least one step"):
        custom_operators.run(x[:0], states, parameters, None, key)


def test_a_second_derivative_is_refused() -> None:
    x, states, parameters, key = operands(make_case(anyrnn.get("lstm"), 0))
    x.requires_grad_()
    output = custom_operators.record(x, states, parameters, None, key)[0]
    (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"backward\.default but no autograd"):
        slope.sum().backward()


def test_exported_for_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = Recurrent("gru", 3, 5, num_layers=2, bidirectional=True, bias=False)
    sizes = {"input": {0: Dim("time"), 1: Dim("batch")}}
    program = torch.export.export(layer, (torch.randn(4, 2, 3),), dynamic_shapes=sizes)
    assert sum(str(node.target) == "anyrnn.run.default" for node in program.graph.nodes) == 4
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    monkeypatch.setattr(run_keys, "_runs", {})  # as in another process
    again = torch.export.load(file).module()
    for time, batch in ((4, 2), (9, 3), (1, 2), (3, 1)):
        x = torch.randn(time, batch, 3, requires_grad=True)
        both = []
        for call in (again, layer):
            output, last = call(x)
            both.append([output, last, *torch.autograd.grad(output.square().sum(), x)])
        torch.testing.assert_close(*both)


def test_strict_export() -> None:
    torch.manual_seed(0)
    layer, x = LSTM(3, 5, batch_first=True), torch.randn(2, 4, 3)
    program = torch.export.export(layer, (x,), strict=True)
    torch.testing.assert_close(program.module()(x), layer(x))


def key_of(**changes: Any) -> str:
    """The key of an LSTM, with changes."""
    cell = without_bias(anyrnn.get("lstm"))
    key = run_keys.key(Run(cell, (("input", 3), ("hidden", 5))))
    return json.dumps(json.loads(key) | changes)


def test_keys_find_their_cells_again(monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of()
    run = run_keys.run_of(key)
    assert run.cell is without_bias(anyrnn.get("lstm"))
    monkeypatch.setattr(run_keys, "_runs", {})
    again = run_keys.run_of(key)
    assert (again.cell, again.sizes, again.reverse) == (run.cell, run.sizes, False)
    chosen = anyrnn.get("lstm_projection")
    for cell in (chosen, INVENTED["normalised"].with_hyperparameters(epsilon=0.25)):
        sizes = tuple((name, 3) for name in cell.sizes)
        monkeypatch.setattr(run_keys, "_runs", {})
        key = run_keys.key(Run(cell, sizes, True, "low"))
        monkeypatch.setattr(run_keys, "_runs", {})
        again = run_keys.run_of(key)
        assert again.cell.hyperparameters == cell.hyperparameters
        assert run_keys.key(again) == key


@anyrnn.cell
def grown(x, h, *, W):
    return h + W @ x


@anyrnn.cell
def shrunk(x, h, *, W):
    return h - W @ x


def test_keys_that_find_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    @anyrnn.cell
    def inside(x, h, *, W):
        return h + W @ x

    sizes = (("input", 2), ("hidden", 2))
    local, own = (run_keys.key(Run(cell, sizes)) for cell in (inside, grown))
    assert run_keys.run_of(local).cell is inside
    monkeypatch.setattr(run_keys, "_runs", {})
    mistakes = {
        "nonsense": "no run is called 'nonsense'",
        '{"cell": 1}': "no run is called",
        local: "was made inside a function and is not found again",
        key_of(cell="nosuch_module:mine"): "'mine' of the module 'nosuch_module'; import that",
        key_of(cell="anyrnn.cells.lstm:nosuch"): "'nosuch' is not at the top level",
        key_of(transforms=[["os:fspath"]]): "changed by 'os:fspath', which is no transform",
        key_of(transforms=[]): "has other equations than when the graph was traced",
    }
    monkeypatch.setattr(run_keys, "_runs", {})
    for key, message in mistakes.items():
        with pytest.raises(CellError) as caught:
            run_keys.run_of(key)
        assert message in one_line(caught.value)
    assert run_keys.run_of(own).cell is grown
    monkeypatch.setattr(run_keys, "_runs", {})
    monkeypatch.setattr(sys.modules[__name__], "grown", shrunk)
    with pytest.raises(CellError, match="'grown' of the module 'test_custom_operators' has other"):
        run_keys.run_of(own)
