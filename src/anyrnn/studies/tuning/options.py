"""What can be chosen for the search for the best options."""

from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.option_checks import LARGEST_SEED, Need

_PRUNING = (Need("prune", (True,)),)


class TuneOptions(OptionGroup, panel="Search"):
    """How options are searched for."""

    trials: int = option(30, "The number of trainings, each with other options.", ge=1)
    search_seed: int = option(
        0,
        "Decides which options are tried; with one worker the search repeats.",
        ge=0,
        le=LARGEST_SEED,
    )
    prune: bool = option(
        True,
        "Give up a training whose best figure so far is worse than the median of the others after "
        "as many epochs.",
    )
    prune_from: int = option(
        2, "The first epoch after which a training may be given up.", ge=1, needs=_PRUNING
    )
    prune_after: int = option(
        5,
        "The number of trainings that are not given up, with which the others are compared.",
        ge=1,
        needs=_PRUNING,
    )
