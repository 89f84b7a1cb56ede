"""What can be chosen of all problems with drawn data."""

from anyrnn.tasks.options import common_options
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.training_options import TrainingOptions


class SequenceOptions(OptionGroup, panel="Data"):
    """How many sequences are drawn; a problem adds how long they are."""

    training_sequences: int = option(
        12_800, "How many sequences an epoch has, all drawn anew.", ge=1, evaluation="left out"
    )
    validation_sequences: int = option(
        1_000, "How many sequences decide when to stop.", ge=1, evaluation="left out"
    )
    test_sequences: int = option(4_000, "How many sequences measure the result.", ge=1)


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network: recurrent layers, then a dense one."""

    hidden_size: int = common_options.hidden_size(64)
    layers: int = common_options.LAYERS


class ProblemOptions(OptionGroup, panel="Model"):
    """Everything that decides the result of a training; a problem's own has its own sequences."""

    data: SequenceOptions = SequenceOptions()
    cells: tuple[str, ...] = common_options.cells()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()


class DrawOptions(OptionGroup, panel="Sequences"):
    """What `anyrnn predict` draws."""

    count: int = option(5, "How many sequences to draw.", ge=1)
    seed: int | None = common_options.seed_of_draws(())
