"""Cells with limited states, or with a limited gradient through time."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

import anyrnn
from anyrnn.derivative.reverse import derivative
from anyrnn.errors import CellError, SizeError
from anyrnn.graph.interpret import evaluate
from anyrnn.graph.keys import Cotangent, Gradient
from anyrnn.graph.nodes import Graph, constant, limited, make
from anyrnn.graph.operations import Type
from anyrnn.graph.sizes import Size
from anyrnn.torch.torch_ops import TORCH
from anyrnn.transforms.clip import with_clipped_gradient, with_clipped_state
from checks import Case, close, close_gradients, close_results, make_case, one_line
from invented_cells import INVENTED
from random_cells import make as make_cell

u = make("state", name="u", type=Type((Size.of("a"),), per_row=True))


def run_lstm(case: Case, clip, clip_gradient=lambda h: h) -> list[torch.Tensor]:
    """An LSTM in torch: its output, and the gradients of the input and of h."""
    x, h, c = (torch.tensor(array, requires_grad=True) for array in (case.x, *case.states))
    W, U, b = (torch.tensor(case.parameters[name]) for name in ("W", "U", "b"))
    first, outputs = h, []
    for x_t in x:
        h, c = clip_gradient(h), clip_gradient(c)
        i, f, g, o = (x_t @ W.T + h @ U.T + b).chunk(4, dim=1)
        c = clip(torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
        h = clip(torch.sigmoid(o) * torch.tanh(c))
        outputs.append(h)
    output = torch.stack(outputs)
    loss = (output * torch.tensor(case.output_gradient)).sum()
    for state, gradient in zip((h, c), case.state_gradients, strict=True):
        loss = loss + (state * torch.tensor(gradient)).sum()
    return [output, *torch.autograd.grad(loss, [x, first])]


def compare(case: Case, wanted: list[torch.Tensor]) -> None:
    gradients = case.gradients()
    for ours, theirs in zip(
        (case.interpret().output, gradients.x, gradients.states[0]), wanted, strict=True
    ):
        close(ours, theirs.detach().numpy(), 1e-12)


def test_clipped_states_of_an_lstm() -> None:
    for bound in (0.1, 0.4):
        case = make_case(with_clipped_state(anyrnn.get("lstm"), bound), 0, sizes={"hidden": 5})
        assert (np.abs(case.interpret().states[1]) == bound).any()
        compare(case, run_lstm(case, lambda value, bound=bound: value.clamp(-bound, bound)))


def test_clipped_gradient_of_an_lstm() -> None:
    case = make_case(with_clipped_gradient(anyrnn.get("lstm"), 0.2), 0, sizes={"hidden": 5})

    def clip(h: torch.Tensor) -> torch.Tensor:
        h = h.clone()
        h.register_hook(lambda gradient: gradient.clamp(-0.2, 0.2))
        return h

    assert (np.abs(case.gradients().states[0]) == 0.2).any()
    compare(case, run_lstm(case, lambda value: value, clip))


def test_bounds_of_some_states_only() -> None:
    lstm = anyrnn.get("lstm")
    only_c = with_clipped_state(lstm, {"c": 0.1})
    history = make_case(only_c, 1, time=6, sizes={"hidden": 7}).interpret().history
    assert np.abs(history[1][1:]).max() == 0.1
    both = with_clipped_state(with_clipped_state(lstm, {"c": 2}), {"h": 1})
    assert both.graph.outputs == with_clipped_state(lstm, {"h": 1, "c": 2}).graph.outputs
    assert with_clipped_state(lstm, {}) is lstm


def test_states_that_are_leaves_or_one_value() -> None:
    handed_on = with_clipped_state(INVENTED["delayed"], 0.5)
    case = make_case(handed_on, 0)
    close(case.interpret().states[1], np.clip(case.interpret().history[0][-2], -0.5, 0.5), 0)
    shared = with_clipped_state(INVENTED["shared_result"], {"h": 0.1, "c": 0.2})
    h, c = make_case(shared, 0, sizes={"hidden": 7}).interpret().states
    assert (np.abs(h).max(), np.abs(c).max()) == (0.1, 0.2)


def test_at_the_bound_and_beyond() -> None:
    """Values, derivatives and second derivatives are those of torch.clamp."""
    values = np.array([[-2.0, -0.5, np.nan], [0.1, 0.5, np.inf]])
    reverse = derivative(Graph({"r": limited(u, constant(0.5))}))
    given = {"u": values, Cotangent("r"): np.full((2, 3), 3.0)}
    tensor = torch.tensor(values, requires_grad=True)
    clamped = tensor.clamp(-0.5, 0.5)
    node = limited(u, constant(0.5))
    found = evaluate([node], {"u": values}, {"a": 3}, np.dtype(float))[node]
    np.testing.assert_array_equal(found, clamped.detach())
    (clamped * 3).sum().backward()
    slope = reverse.outputs[Gradient("u")]
    found = evaluate([slope], given, {"a": 3}, np.dtype(float))[slope]
    # of NaN, torch.clamp has no derivative and ours is that of the value
    np.testing.assert_array_equal(found[:, :2], tensor.grad[:, :2])


@pytest.mark.parametrize("number", [False, True])
def test_the_operation(number: bool) -> None:
    """The identity; its cotangent is limited, as torch has it, and by the second derivative."""
    value = make("mean", u) if number else u
    shape = (2, 1) if number else (2, 3)
    cotangent = np.array([[-2.0], [0.4]]) if number else np.array([[0.5, 2, -9], [0.1, -0.5, 0]])
    reverse = derivative(Graph({"r": make("clip_gradient", value, constant(0.5))}))
    (slope,) = reverse.outputs.values()
    values = {"u": np.ones((2, 3)), Cotangent("r"): cotangent}
    found = evaluate([slope], values, {"a": 3}, np.dtype(float))[slope]
    wanted = np.clip(cotangent, -0.5, 0.5)
    close(found, np.broadcast_to(wanted / 3, (2, 3)) if number else wanted, 0)
    x = torch.ones(shape, dtype=torch.double, requires_grad=True)
    seed = torch.tensor(cotangent, requires_grad=True)
    result = TORCH["clip_gradient"](x, torch.tensor(0.5))
    assert torch.equal(result, x)
    (first,) = torch.autograd.grad(result, x, seed, create_graph=True)
    close(first.detach().numpy(), wanted, 0)
    (second,) = torch.autograd.grad(first.sum(), seed)
    close(second.numpy(), (np.abs(cotangent) <= 0.5).astype(float), 0)


def test_the_derivative_is_that_of_the_limited_cotangent() -> None:
    """Central differences: what flows back is limited at every step, and nothing else."""
    case = make_case(with_clipped_gradient(anyrnn.get("rnn"), 0.3), 3, time=3, sizes={"hidden": 2})
    rnn, step = anyrnn.get("rnn"), 1e-6
    cotangent = case.state_gradients[0]
    for time in reversed(range(3)):
        before = case.interpret().history[0][time]

        def loss(h: np.ndarray, time: int = time, d: np.ndarray = cotangent) -> float:
            one = anyrnn.interpret(rnn, case.x[[time]], [h], parameters=case.parameters)
            return float((one.output[0] * (d + case.output_gradient[time])).sum())

        found = np.zeros_like(before)
        for place in np.ndindex(before.shape):
            moved = np.zeros_like(before)
            moved[place] = step
            found[place] = (loss(before + moved) - loss(before - moved)) / (2 * step)
        cotangent = np.clip(found, -0.3, 0.3)
    close(case.gradients().states[0], cotangent, 1e-8)
    plain = replace(case, cell=rnn).gradients().states[0]
    assert np.abs(plain - cotangent).max() > 0.01


@pytest.mark.parametrize("bound", [0.05, 1000])
@pytest.mark.parametrize("path", ["operations", "compiled"])
@pytest.mark.parametrize("name", ["lstm_peephole", "gru_reset_before", "rnn_output"])
def test_every_path_is_the_interpreter(name: str, path: str, bound: float) -> None:
    changed = with_clipped_gradient(with_clipped_state(anyrnn.get(name), 0.4), bound)
    case = make_case(changed, 5, sizes={"input": 3, "hidden": 19})
    results, gradients = case.execute(path)
    close_results(results, case.interpret(), 1e-12)
    close_gradients(gradients, case.gradients(), 1e-11)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own
def test_vmap_and_jvp_of_the_operation() -> None:
    clip = TORCH["clip_gradient"]
    x, bound = torch.randn(4, 3, dtype=torch.double), torch.tensor(0.5).double()
    per_sample = torch.func.vmap(torch.func.grad(lambda v: (3 * clip(v, bound)).sum()))(x)
    assert torch.equal(per_sample, torch.full((4, 3), 0.5).double())
    _, tangent = torch.func.jvp(lambda v: clip(v, bound), (x,), (x,))
    assert torch.equal(tangent, x)


def test_saved_and_loaded() -> None:
    lstm = anyrnn.get("lstm")
    for changed in (
        with_clipped_state(lstm, 1),
        with_clipped_state(lstm, {"c": 3}),
        with_clipped_gradient(lstm, 1),
    ):
        assert pickle.loads(pickle.dumps(changed)) is changed
    chosen = with_clipped_gradient(INVENTED["antisymmetric"], 2).with_hyperparameters(step=0.5)
    assert chosen.hyperparameters["step"] == 0.5
    assert any(node.operation == "clip_gradient" for node in chosen.graph.nodes())


@pytest.mark.parametrize("bound", [0, -1, float("inf"), float("nan"), True, "1", None])
def test_bounds_that_are_none(bound: object) -> None:
    lstm = anyrnn.get("lstm")
    for transform in (with_clipped_state, with_clipped_gradient):
        with pytest.raises(CellError, match="expected a number above zero") as caught:
            transform(lstm, bound)
        assert repr(bound) in one_line(caught.value)


def test_mistakes() -> None:
    with pytest.raises(CellError) as caught:
        with_clipped_state(anyrnn.get("gru"), {"c": 1})
    assert "clip_state={'c': 1}: cell 'gru' has no state 'c'" in one_line(caught.value)
    head = "@cell\ndef drawn(x, h, *, W, U, b):\n    return tanh(W @ x + "
    for term, message in {
        "U @ clip_gradient(h, b)": "takes a number as its bound, not hidden",
        "clip_gradient(tanh(b), 1) * h": "takes what depends on the input or a state",
    }.items():
        with pytest.raises(SizeError) as caught:
            make_cell(f"{head}{term})\n")
        assert message in one_line(caught.value)
