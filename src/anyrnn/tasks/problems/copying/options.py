"""What can be chosen of copy memory."""

from anyrnn.tasks.options import common_options
from anyrnn.tasks.options.common_options import TrainingOptions
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.problems.options import DrawOptions, ModelOptions, SequenceOptions


class DataOptions(SequenceOptions, panel="Data"):
    """The sequences."""

    pause: int = option(30, "The number of steps for which the symbols have to be kept.", ge=1)


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions = DataOptions()
    cells: tuple[str, ...] = common_options.cells()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()


class PredictOptions(DrawOptions, panel="Sequences"):
    """What is drawn to be copied."""
