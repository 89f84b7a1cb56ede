"""What can be chosen of the adding problem."""

from anyrnn.tasks.options import common_options
from anyrnn.tasks.options.common_options import TrainingOptions
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.problems.options import DrawOptions, ModelOptions, SequenceOptions


class DataOptions(SequenceOptions, panel="Data"):
    """The sequences."""

    length: int = option(100, "The number of steps of a sequence.", ge=2)


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions = DataOptions()
    cells: tuple[str, ...] = common_options.cells()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()


class PredictOptions(DrawOptions, panel="Sequences"):
    """What is drawn to be added."""
