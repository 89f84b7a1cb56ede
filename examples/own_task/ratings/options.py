"""What a user can choose when texts are given numbers."""

from pathlib import Path

from anyrnn.tasks.options import common_options
from anyrnn.tasks.options.common_options import VocabularyOptions
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.file_options import InputOptions, PartOptions, TableOptions
from anyrnn.tasks.options.training_options import TrainingOptions


class DataOptions(PartOptions, TableOptions, panel="Data"):
    """Which table holds the texts and their numbers."""

    data: Path = option(
        ..., "A table with a text in each row.", metavar="FILE", evaluation="required"
    )
    text: str = option(..., "The column of the texts.", metavar="COLUMN")
    number: str = option(..., "The column of the numbers.", metavar="COLUMN")
    skip_bad: bool = option(False, "Leave out rows without a text or a number.")


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network."""

    embedding_size: int = common_options.embedding_size(64)
    hidden_size: int = common_options.hidden_size(64)
    layers: int = common_options.LAYERS
    dropout: float = common_options.dropout(0.2)


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions
    cells: tuple[str, ...] = common_options.cells("gru")
    vocabulary: VocabularyOptions = VocabularyOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()


class PredictOptions(InputOptions, panel="Texts"):
    """Which texts get a number."""
