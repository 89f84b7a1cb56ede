"""Looking into recurrent layers and networks of them, of any cell: gates, gradients, memory."""

from anyrnn.inspect.gradients import Flow, GradientFlow, gradient_flow

__all__ = ["Flow", "GradientFlow", "gradient_flow"]
