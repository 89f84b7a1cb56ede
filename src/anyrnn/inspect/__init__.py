"""Looking into recurrent layers and networks of them, of any cell: gates, gradients, memory."""

from anyrnn.inspect.attribution import Saliency, saliency, saliency_of
from anyrnn.inspect.flow import Flow
from anyrnn.inspect.gates import Gates, Saturation, gates
from anyrnn.inspect.gradients import GradientFlow, gradient_flow
from anyrnn.inspect.jacobians import singular_values
from anyrnn.inspect.limits import Limits
from anyrnn.inspect.memory import Persistence, persistence
from anyrnn.inspect.spectrum import Spectrum, spectrum

__all__ = [
    "Flow",
    "Gates",
    "GradientFlow",
    "Limits",
    "Persistence",
    "Saliency",
    "Saturation",
    "Spectrum",
    "gates",
    "gradient_flow",
    "persistence",
    "saliency",
    "saliency_of",
    "singular_values",
    "spectrum",
]
