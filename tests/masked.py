"""Masks and resets as a plain loop says them: row by row, step by step, in the interpreter."""

from __future__ import annotations

import numpy as np

import anyrnn
from anyrnn import Gradients, SequenceResult
from checks import Case


def run(
    case: Case,
    counts: np.ndarray,
    resets: np.ndarray,
    carry: bool = False,
    reverse: bool = False,
) -> tuple[SequenceResult, Gradients]:
    """Results, with the states after every step as history, and gradients of a case's loss.

    In reverse a state is put back after the step, which is before it in that order.
    """
    time, batch, _ = case.x.shape
    output = np.zeros_like(case.output_gradient)
    history = [np.zeros((time, *state.shape)) for state in case.states]
    last = [np.zeros_like(state) for state in case.states]
    total = Gradients(
        np.zeros_like(case.x),
        tuple(np.zeros_like(state) for state in case.states),
        {name: np.zeros_like(array) for name, array in case.parameters.items()},
    )
    order = range(time)[::-1] if reverse else range(time)
    for row in range(batch):
        gradient = case.output_gradient[:, row].copy()
        if carry:
            shown = np.zeros_like(gradient)
            for step in range(time):
                before = [k for k in range(step + 1) if counts[k, row]]
                if before:
                    shown[before[-1]] += gradient[step]
            gradient = shown
        initial = [state[row : row + 1] for state in case.states]
        states, olds = initial, {}
        for step in order:
            behind = step + 1 if reverse else step
            if behind < time and resets[behind, row]:
                states = initial
            if counts[step, row]:
                olds[step] = states
                x = case.x[step : step + 1, row : row + 1]
                found = anyrnn.interpret(case.cell, x, states, parameters=case.parameters)
                output[step, row], states = found.output[0, 0], found.states
            for whole, state in zip(history, states, strict=True):
                whole[step, row] = state[0]
        for whole, state in zip(last, states, strict=True):
            whole[row] = state[0]
        if carry:
            for step in range(1, time):
                if not counts[step, row]:
                    output[step, row] = output[step - 1, row]
        back = [part[row : row + 1] for part in case.state_gradients]
        for step in reversed(order):
            if counts[step, row]:
                found = anyrnn.gradients(
                    case.cell,
                    case.x[step : step + 1, row : row + 1],
                    olds[step],
                    parameters=case.parameters,
                    output_gradient=gradient[step][None, None],
                    state_gradients=back,
                )
                back = found.states
                total.x[step, row] += found.x[0, 0]
                for name, part in found.parameters.items():
                    total.parameters[name][...] += part
            behind = step + 1 if reverse else step
            if behind < time and resets[behind, row]:
                _put_back(total, row, back)
                back = [np.zeros_like(part) for part in back]
        _put_back(total, row, back)
    return SequenceResult(output, tuple(last), tuple(history)), total


def _put_back(total: Gradients, row: int, gradients: object) -> None:
    for whole, part in zip(total.states, gradients, strict=True):  # type: ignore[call-overload]
        whole[row] += part[0]
