"""What can be chosen of copy memory."""

from anyrnn.tasks.options.declaration import option
from anyrnn.tasks.problems.options import DrawOptions, ProblemOptions, SequenceOptions


class DataOptions(SequenceOptions, panel="Data"):
    """The sequences."""

    pause: int = option(30, "The number of steps for which the symbols have to be kept.", ge=1)


class Options(ProblemOptions, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions = DataOptions()


class PredictOptions(DrawOptions, panel="Sequences"):
    """What is drawn to be copied."""
