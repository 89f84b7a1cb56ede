"""Options on how a decoder's texts are searched for."""

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.options import common_options
from anyrnn.tasks.options.declaration import OptionGroup, check_needs, option
from anyrnn.tasks.options.option_checks import DataNeed, Need

ATTENTION = DataNeed("attention of a run", but="a network without attention")
_SEARCHED = (Need("sample", (False,)),)
_BEAM = (*_SEARCHED, Need("beam", but=1))
_SAMPLE = (Need("sample", (True,)),)


class SearchOptions(OptionGroup, panel="Search"):
    """How texts are searched for."""

    beam: int = common_options.beam(
        5, "How many candidates are kept at each step; 1 for greedy search.", _SEARCHED
    )
    n_best: int = option(
        1, "How many candidates of each to give, the best one first.", ge=1, needs=_BEAM
    )
    length_penalty: float = option(
        0.6,
        "How much longer candidates are preferred (alpha of Wu et al. 2016); 0 for not at all.",
        ge=0,
        needs=_BEAM,
    )
    coverage_penalty: float = option(
        0.0,
        "How much candidates are preferred that attend to all of the source (beta there).",
        ge=0,
        needs=(*_BEAM, ATTENTION),
    )
    no_repeat: int = option(
        0,
        "No sequence of so many tokens occurs twice in a candidate; 0 for no such rule.",
        ge=0,
        needs=_SEARCHED,
    )
    sample: bool = option(False, "Draw each token instead of searching.", flags=("--sample",))
    temperature: float = common_options.temperature(_SAMPLE)
    top_k: int = common_options.top_k(_SAMPLE)
    top_p: float = common_options.top_p(_SAMPLE)
    seed: int | None = common_options.seed_of_draws(_SAMPLE)


def check_search(search: SearchOptions, *, attention: bool) -> None:
    """Refuse options that have no effect on a network, or do not fit each other.

    Args:
        search: The options.
        attention: Whether the network has attention.

    Raises:
        OptionError: There is one.
    """
    check_needs(search, data=None if attention else ATTENTION.lacking)
    if search.n_best > search.beam:
        raise OptionError(
            f"{option_name('n_best')} is {search.n_best}, but a beam finds no more than its "
            f"size, and {option_name('beam')} is {search.beam}; raise it"
        )
