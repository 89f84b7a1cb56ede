"""What can be chosen of the adding problem."""

from anyrnn.tasks.options.declaration import option
from anyrnn.tasks.problems.options import DrawOptions, ProblemOptions, SequenceOptions


class DataOptions(SequenceOptions, panel="Data"):
    """The sequences."""

    length: int = option(100, "The number of steps of a sequence.", ge=2)


class Options(ProblemOptions, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions = DataOptions()


class PredictOptions(DrawOptions, panel="Sequences"):
    """What is drawn to be added."""
