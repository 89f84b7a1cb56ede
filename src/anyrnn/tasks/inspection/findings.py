"""Everything that is found out about a network and one input of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from anyrnn.errors import InputError
from anyrnn.inspect import (
    Flow,
    Gates,
    GradientFlow,
    Persistence,
    Saliency,
    Spectrum,
    gates,
    gradient_flow,
    persistence,
    saliency,
    saliency_of,
    singular_values,
    spectrum,
)
from anyrnn.tasks.inspection.examined import Call, Examined
from anyrnn.tasks.inspection.gradients import calls_of
from anyrnn.tasks.inspection.words import said

_MOST_NUMBERS = 1 << 25  # of all Jacobians together


@dataclass(frozen=True)
class Findings:
    """What was found out.

    Attributes:
        examined: The input.
        gates: The values of the equations at every step, (steps, size) each.
        saliency: How much each step, or place that is attended to, adds to the explained output.
        gradient: How its gradient goes back through time.
        singular: By layer and direction, the singular values of the Jacobian of the states at the
            end, by the number of steps before, (steps, size); empty for a large network.
        persistence: How long a perturbation after the first step survives, if there is a second.
        spectra: The eigenvalues of the recurrent matrices of the layer.
        notes: What was left out, and why.
    """

    examined: Examined
    gates: Gates
    saliency: Saliency
    gradient: GradientFlow
    singular: dict[str, numpy.ndarray]
    persistence: Persistence | None
    spectra: list[Spectrum]
    notes: list[str] = field(default_factory=list)

    @property
    def integrated(self) -> numpy.ndarray:
        """The integrated gradients of each step or place, (places)."""
        return self.saliency.by_step[self._row]

    @property
    def gradient_times_input(self) -> numpy.ndarray:
        """The gradient times the input at each step or place, (places)."""
        return self.saliency.gradient_times_input.sum(-1)[self._row]

    @property
    def _row(self) -> int:
        """The row of what the output is attributed to."""
        return self.examined.row if self.examined.read is None else 0

    def arrays(self) -> dict[str, numpy.ndarray]:
        """Every array, by name, for a file."""
        found = {f"gates/{name}": values for name, values in self.gates.values.items()}
        found["saliency/integrated"] = self.saliency.integrated[self._row]
        found["saliency/gradient_times_input"] = self.saliency.gradient_times_input[self._row]
        for name, norms in self.gradient.norms.items():
            found[f"gradient/{name}"] = norms[self.examined.row]
        found |= {f"singular/{name}": values for name, values in self.singular.items()}
        if self.persistence is not None:
            for flow in self.persistence.flows:
                found[f"persistence/{flow.name}"] = flow.share
        found |= {f"eigenvalues/{each.name}": each.eigenvalues for each in self.spectra}
        return found

    def plain(self) -> dict[str, Any]:
        """The findings as JSON knows them."""
        limits, saturation = self.gates.limits, self.gates.saturation
        return {
            "input": self.examined.title,
            "answer": self.examined.answer,
            "steps": list(self.examined.steps),
            "notes": [*self.examined.notes, *self.notes],
            "gates": {
                name: {
                    "mean": _rounded(values.mean(axis=1)),
                    "activation": limits[name].activation if name in limits else None,
                    "saturated": vars(saturation[name]) if name in limits else None,
                }
                for name, values in self.gates.values.items()
            },
            "saliency": {
                "explained": self.examined.explained,
                "places": list(self.examined.places),
                "value": self.saliency.value,
                "value_of_zeros": self.saliency.baseline_value,
                "integrated_gradients": _rounded(self.integrated),
                "gradient_times_input": _rounded(self.gradient_times_input),
                "incomplete": self.saliency.gap,
            },
            "gradient": {
                "norms": {
                    name: _rounded(norms[self.examined.row])
                    for name, norms in self.gradient.norms.items()
                },
                **_flows(self.gradient.flows, self.gradient.whole),
            },
            "singular_values": {
                name: {"largest": _rounded(values[:, 0]), "smallest": _rounded(values[:, -1])}
                for name, values in self.singular.items()
            },
            "persistence": self.persistence
            and _flows(self.persistence.flows, self.persistence.whole),
            "spectra": [
                {
                    "matrix": each.name,
                    "radius": each.radius,
                    "real": _rounded(numpy.real(each.eigenvalues)),
                    "imaginary": _rounded(numpy.imag(each.eigenvalues)),
                }
                for each in self.spectra
            ],
        }


def look_into(examined: Examined, noted: Callable[[str], None] = lambda words: None) -> Findings:
    """Find out everything about an input.

    Args:
        examined: The input.
        noted: Called with what is computed next.

    Raises:
        InputError: The memory that is free does not suffice for the gradient.
    """
    model, layer = Call(examined), f"network.{examined.layer}"
    one: dict[str, Any] = {"layers": [layer], "calls": calls_of(layer)}
    noted("gradients")
    flow = gradient_flow(model, of=examined.of, end=examined.end, at=examined.at, **one)
    noted("gates")
    found = gates(model, **one)
    values = {name: each[examined.row] for name, each in found.values.items()}
    noted("saliency")
    if (read := examined.read) is not None:
        explained = saliency_of(model, lambda given: examined.of(read.call(given)), read.values)
    else:
        explained = saliency(model, of=examined.of, layer=layer, calls=one["calls"])
    notes: list[str] = []
    if explained.gap > 0.05:
        notes.append(said("gap", examined.language, percent=100 * explained.gap))
    noted("singular values")
    states = sum(each.shape[1] for name, each in values.items() if name in flow.norms)
    singular: dict[str, numpy.ndarray] = {}
    if states**2 * len(examined.steps) <= _MOST_NUMBERS:
        try:
            every = singular_values(model, layer=layer, calls=one["calls"])
            singular = {name: each[examined.row] for name, each in every.items()}
        except InputError as error:
            notes.append(_why(error, examined))
    else:
        notes.append(said("too large", examined.language))
    noted("perturbations")
    survives = None
    if len(examined.steps) > 1:
        try:
            survives = persistence(model, **one)
        except InputError as error:
            notes.append(_why(error, examined))
    else:
        notes.append(said("one step", examined.language))
    spectra = spectrum(examined.network.get_submodule(examined.layer))
    shown = Gates(values, found.limits)
    notes = list(dict.fromkeys(notes))
    return Findings(examined, shown, explained, flow, singular, survives, spectra, notes)


def _why(error: InputError, examined: Examined) -> str:
    """Why something was left out, for readers."""
    several = calls_of(examined.layer) is None
    return said("several calls", examined.language) if several else str(error)


def _flows(flows: Sequence[Flow], whole: Flow) -> dict[str, Any]:
    return {
        "left": {flow.name: _rounded(flow.share) for flow in flows},
        "steps_until_1_percent": whole.steps_left(),
        "per_step": None if numpy.isnan(whole.per_step) else whole.per_step,
        "verdict": whole.verdict,
    }


def _rounded(values: numpy.ndarray) -> list[float | None]:
    """Numbers as JSON knows them, in six digits."""
    return [float(f"{value:.6g}") if numpy.isfinite(value) else None for value in values]
