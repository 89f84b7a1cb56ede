"""Every cell of the catalogue with every transform, compiled; pairs of transforms; what a cell
cannot have, and what excludes what. `make contract` checks every pair with every cell.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

import anyrnn
from anyrnn.errors import CellError
from anyrnn.transforms import transform
from anyrnn.transforms.normalisation import with_normalisation
from checks import TWINS, one_line
from contract import (
    CHANGES,
    LINE,
    OPTIONS,
    PAIRS,
    SIZES,
    Options,
    can_have,
    changed,
    check,
    everything,
    excludes,
    spread,
)

COMBINATIONS = spread()
LINEAR = ["mingru", "minlstm", "sru", "qrnn"]
JOINED = ["article3_lstm", "article3_gru"]  # one matrix for [h, x]
REFUSED = {
    "heads": ["lstm_projection", *LINEAR, *JOINED],
    "independent": ["lstm_projection", *LINEAR, *JOINED],
    "projection": ["lstm_projection", *LINEAR],
    "recurrent_dropout": LINEAR,
    "recurrent_dropout per gate": LINEAR,
    "input_dropout": JOINED,
    "input_dropout per gate": JOINED,
}


@pytest.mark.parametrize(("name", "options"), COMBINATIONS)
def test_compiled(name: str, options: Options) -> None:
    number = COMBINATIONS.index((name, options))
    place = number % len(SIZES)
    check(name, options, (place, (place + 2) % len(SIZES)), inference=number % 2 == 0)


def test_what_is_checked() -> None:
    """Every option with every cell that can have it, but twins; every pair with several cells."""
    own = {(name, option) for name, options in COMBINATIONS for option in options}
    for option in OPTIONS:
        cells = [name for name in anyrnn.CATALOGUE if name not in TWINS]
        refusing = [name for name in cells if (name, option) not in own]
        assert refusing == REFUSED.get(option, []), option
    pairs = Counter(pair for _, options in COMBINATIONS for pair in combinations(options, 2))
    assert all(pairs[pair] >= 2 for pair in PAIRS if not excludes(*pair)), pairs


@pytest.mark.parametrize("option", REFUSED)
def test_a_cell_says_why_it_cannot_have_an_option(option: str) -> None:
    for name in REFUSED[option]:
        with pytest.raises(CellError, match=f"cell '{name}'"):
            changed(name, (option,))


def test_pairs_that_a_cell_cannot_have() -> None:
    changes = {option for line in CHANGES for option in line}
    pairs = [pair for pair in PAIRS if changes.issuperset(pair)]
    for place, name in enumerate(anyrnn.CATALOGUE):
        for pair in pairs[place % 3 :: 3]:  # each meets eight cells
            if all(can_have(name, (option,)) for option in pair) and not can_have(name, pair):
                assert excludes(*pair), (name, pair)
                with pytest.raises(CellError) as caught:
                    changed(name, pair)
                assert f"'{name}' has no recurrent matrix" in one_line(caught.value)


def test_options_that_exclude_each_other() -> None:
    lstm = anyrnn.get("lstm")
    structure = {"heads": {"heads": 2}, "independent": {"independent": True}}
    structure["projection"] = {"projection": True}
    for one, other in combinations(structure, 2):
        with pytest.raises(CellError) as caught:
            transform(lstm, **structure[one], **structure[other])
        message = one_line(caught.value)
        assert "exclude each other" in message
        assert one in message
        assert other in message
    for kind in ("layer", "rms"):
        with pytest.raises(CellError, match="has parameters called input_gain already"):
            with_normalisation(changed("lstm", ("layer",)), kind)
    projected = changed("lstm", ("projection",))
    with pytest.raises(CellError, match="has a projection already; give projection_size"):
        transform(projected, projection=True)


def test_everything_has_each_pair_once() -> None:
    every = everything("lstm")
    assert len(every) == len(set(every))
    assert every[0] == ()
    assert [options for options in every if len(options) == 2] == [
        pair for pair in PAIRS if not excludes(*pair)
    ]
    assert all(LINE[one] != LINE[other] for one, other in PAIRS)
