"""What a user can choose when cells are compared, beside the options of the task."""

from typing import Literal

from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.option_checks import Need

CELLS = ("rnn", "lstm", "gru", "mingru")
SEEDS = 5
"""What a comparison compares if nothing else is asked for."""

LEVEL = 0.05
FACTORS = (0.3, 1.0, 3.0, 10.0)
"""By what the learning rate is multiplied to find that of each cell."""

FURTHER = (0.03, 0.1, *FACTORS, 30.0, 100.0)
"""The same with those that are tried where the best one is at an end."""


class CompareOptions(OptionGroup, panel="Comparison"):
    """How cells are compared."""

    sizes: Literal["equal-parameters", "equal-time", "equal-hidden"] = option(
        "equal-parameters",
        "The hidden size of each cell: with as many parameters of the network as with the first "
        "cell, with a training step as long as its own (measured), or the same for all.",
    )
    rates: tuple[float, ...] = option(
        (),
        "A learning rate to try with each cell, in one training; may be repeated.",
        flags=("--rate",),
        shown="0.3, 1, 3 and 10 times the task's, further ones where the best is at an end; fewer "
        "where the budget is small",
        distinct=True,
        needs=(Need("fixed_rate", (False,)),),
    )
    fixed_rate: bool = option(
        False, "Try no learning rates; every cell has the same, as where one is given."
    )
    figure: str | None = option(
        None,
        "The figure that cells are compared by, such as accuracy.",
        metavar="NAME",
        shown="the one that decides on the best epoch",
    )
    significance: float | None = option(
        None,
        "The level at which a difference counts as certain.",
        gt=0,
        lt=1,
        shown="0.05",
        needs=(Need("seeds", but=1),),
    )
    language: Literal["en", "zh"] = option(
        "en", "The language of the recommendation and the report: English or Chinese."
    )
