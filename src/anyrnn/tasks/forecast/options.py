"""What a user can choose when series are forecast."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.options import common_options, file_options
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.file_options import TableOptions
from anyrnn.tasks.options.option_checks import DataNeed, Need
from anyrnn.tasks.options.training_options import TrainingOptions

DATES, NUMBERS, NO_TIMES = "dates", "times that are numbers", "rows without times"
SEVERAL_TARGETS = DataNeed("number of targets", but="a single target")
_DIRECT = Need("decoding", ("direct",), why="which would have to read it in the future")
_STEPS = Need("form", ("steps",), why="which are decoded at once")


class DataOptions(TableOptions, panel="Data"):
    """Which file and columns hold the series, and what is done with what lacks in them."""

    data: Path = option(
        ...,
        "A table with a row for each time: CSV, TSV, JSON lines (also .gz, .xz, .bz2) or parquet.",
        metavar="FILE",
        evaluation="required",
    )
    time: str | None = option(
        None,
        "The column of times: dates or whole numbers.",
        metavar="COLUMN",
        shown="ds if there is one, else each row is a step",
    )
    target: tuple[str, ...] = option(
        (), "A column to forecast; may be repeated.", metavar="COLUMN", shown="y", distinct=True
    )
    group: str | None = option(
        None,
        "The column that names the series of a row.",
        metavar="COLUMN",
        shown="unique_id if there is one",
    )
    past_covariates: tuple[str, ...] = option(
        (),
        "A column that helps and is known up to the present; may be repeated.",
        metavar="COLUMN",
        flags=("--past", "--past-covariates"),
        distinct=True,
        needs=(_DIRECT,),
    )
    future_covariates: tuple[str, ...] = option(
        (),
        "A column that helps and is known in advance, such as a holiday; may be repeated.",
        metavar="COLUMN",
        flags=("--future", "--future-covariates"),
        distinct=True,
    )
    frequency: str | None = option(
        None,
        "The step of time: 10min, h, D, B (working days), W, MS (months), ...; "
        "row if each row is a step whatever its time.",
        metavar="STEP",
        shown="found in the times",
    )
    time_format: str | None = option(
        None,
        "How times are written, such as %d.%m.%Y %H:%M.",
        metavar="FORMAT",
        shown="found",
        needs=(DataNeed("times", but=NO_TIMES),),
    )
    until: str | None = option(
        None, "Leave out what comes after this time.", metavar="TIME", evaluation="left out"
    )
    decimal: Literal[".", ","] = file_options.decimal()
    missing_value: tuple[float, ...] = option(
        (), "A number that stands for a missing value, such as -9999; may be repeated."
    )
    missing: Literal["carry", "refuse"] = option(
        "carry",
        "Missing values: the network reads the last known one and is never measured on them, "
        "or they are refused.",
    )
    validation_size: float = option(
        0.1,
        "How much of each series, before the test, decides when to stop: a share, or steps.",
        gt=0,
        evaluation="left out",
    )
    test_size: float = option(
        0.2,
        "How much of the end of each series measures the result: a share, or steps.",
        gt=0,
        evaluation="left out",
    )
    skip_bad: bool = option(
        False,
        "Leave out rows without time or group, second rows of a time, and too short series.",
    )


class ForecastOptions(OptionGroup, panel="Forecast"):
    """What is forecast, from what."""

    horizon: int = option(24, "How many steps ahead to forecast.", ge=1)
    look_back: int | None = option(
        None, "How many steps the network reads.", ge=1, shown="twice the horizon"
    )
    season: int | None = option(
        None, "The steps of a season, for comparison; 1 for none.", ge=1, shown="by the step"
    )
    calendar: bool = option(
        True,
        "The network also reads the time of the day, the week and the year.",
        needs=(DataNeed("times", (DATES,)),),
    )
    scaling: Literal["standard", "robust", "none"] = option(
        "standard",
        "Each column less its mean, over its deviation (robust: median and quartiles), of the "
        "training part alone.",
    )
    intervals: tuple[int, ...] = option(
        (80, 95),
        "The per cent of outcomes that an interval holds; may be repeated.",
        ge=1,
        distinct=True,
    )
    backtest: int = option(
        6,
        "At how many points of the test part to fit exponential smoothing for comparison; "
        "0 for none.",
        ge=0,
        le=1000,
    )

    @property
    def steps_read(self) -> int:
        """The look-back, chosen or not."""
        return self.look_back or 2 * self.horizon


class ModelOptions(OptionGroup, panel="Model"):
    """The network."""

    form: Literal["steps", "segments"] = option(
        "steps",
        "The recurrent layers go over single steps, or over segments of the look-back "
        "(SegRNN, Lin et al. 2023).",
    )
    segment_length: int | None = option(
        None,
        "The steps of a segment, which divide the look-back.",
        ge=1,
        shown="about a quarter of the look-back",
        needs=(Need("form", ("segments",)),),
    )
    decoding: Literal["direct", "recursive"] = option(
        "direct",
        "All steps of the horizon at once, or each from the one before.",
        needs=(_STEPS,),
    )
    head: Literal["quantile", "gaussian", "point"] = option(
        "quantile", "What is forecast: quantiles, a normal distribution, or one value."
    )
    point_loss: Literal["mse", "mae"] = option(
        "mse", "What a point forecast is trained on.", needs=(Need("head", ("point",)),)
    )
    channels: Literal["independent", "joint"] = option(
        "independent",
        "Several targets: each is read alone by the same network, or all are read together.",
        needs=(SEVERAL_TARGETS,),
    )
    level: Literal["last", "mean", "none"] = option(
        "last",
        "What is subtracted from the look-back and added to the forecast: its last value, or its "
        "mean (then it is also divided by its deviation).",
    )
    hidden_size: int = common_options.hidden_size(64)
    layers: int = common_options.LAYERS
    dropout: float = common_options.dropout(0.1)


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions
    cells: tuple[str, ...] = common_options.cells("gru")
    forecast: ForecastOptions = ForecastOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()


class PredictOptions(OptionGroup, panel="Forecast"):
    """From which data to forecast, and where to."""

    data: Path | None = option(
        None,
        "A newer table like that of the training.",
        metavar="FILE",
        shown="the end of the training data",
    )
    output: Path | None = option(
        None,
        "A file to write, .csv or .jsonl.",
        metavar="FILE",
        shown="standard output",
        flags=("--output", "-o"),
    )
    overwrite: bool = option(False, "Replace a file there.", flags=("--overwrite",))


def check(options: Options) -> None:
    """Check what depends on several options.

    Raises:
        OptionError: Two options exclude each other, or a value does not fit the others.
    """
    data, forecast, model = options.data, options.forecast, options.model
    for level in forecast.intervals:
        if not 0 < level < 100:
            raise OptionError(
                f"{option_name('intervals')} has {level}, but has to have whole numbers from 1 to "
                "99 (per cent)"
            )
    for name in ("validation_size", "test_size"):
        size = getattr(data, name)
        if size >= 1 and size != int(size):
            raise OptionError(
                f"{option_name(name)} is {size}, but has to be a share below 1 or a whole number "
                "of steps"
            )
    shares = [size for size in (data.validation_size, data.test_size) if size < 1]
    if sum(shares) >= 1:
        raise OptionError(
            f"{option_name('validation_size')} and {option_name('test_size')} are "
            f"{data.validation_size} and {data.test_size}: nothing is left to train on"
        )
    if model.form == "segments":
        segment_length(forecast.steps_read, model)


def check_roles(*roles: tuple[str, Iterable[str | None]]) -> None:
    """Refuse a column with two roles.

    Args:
        roles: Options, each with the columns that it names.

    Raises:
        OptionError: Two options name the same column.
    """
    role_of: dict[str, str] = {}
    for role, names in roles:
        for name in filter(None, names):
            if role_of.setdefault(name, role) != role:
                raise OptionError(
                    f"the column {name!r} is given two roles: {option_name(role_of[name])} and "
                    f"{option_name(role)}"
                )


def segment_length(look_back: int, model: ModelOptions) -> int:
    """The steps of a segment.

    Raises:
        OptionError: The one that was chosen does not divide the look-back.
    """
    divisors = [n for n in range(1, look_back + 1) if look_back % n == 0]
    if model.segment_length is None:
        return max(n for n in divisors if n <= max(1, look_back // 4))
    if model.segment_length not in divisors:
        raise OptionError(
            f"{option_name('segment_length')} is {model.segment_length}, but has to divide the "
            f"look-back of {look_back} steps: {', '.join(map(str, divisors[:20]))}"
        )
    return model.segment_length
