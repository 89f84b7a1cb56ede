"""What may be searched: ranges and lists of the declared options, from files and flags."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from anyrnn.errors import AnyrnnError
from anyrnn.studies.search_section import commented, read_search, schema, space_of
from anyrnn.studies.space import Choice, Range, Space, default_space, together
from anyrnn.tasks.classify import DataOptions, Options
from anyrnn.tasks.options.declaration import declared, from_flat, replaced
from anyrnn.tasks.registry import TASKS

OPTIONS = Options(DataOptions(Path("reviews.csv"), "review", "label"))
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))


def sampled(space: Space, count: int = 60) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(count)]


def test_what_is_sampled_lies_within_the_bounds() -> None:
    section = {
        "model.hidden_size": {"low": 3, "high": 200, "log": True},
        "model.layers": {"low": 1, "high": 6, "step": 2},
        "model.dropout": {"low": 0, "high": 0.55, "step": 0.1},
        "training.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
        "training.optimiser": ["adam", "sgd"],
        "cells": ["gru", "lstm"],
    }
    found = sampled(space_of(OPTIONS, section))
    sizes = [each["model.hidden_size"] for each in found]
    assert all(type(size) is int and 3 <= size <= 200 for size in sizes)
    # As many below the geometric mean as above, where a range that is not logarithmic has one of 9.
    assert 20 <= sum(size < math.sqrt(3 * 200) for size in sizes) <= 40
    assert {each["model.layers"] for each in found} == {1, 3, 5}
    dropouts = {round(each["model.dropout"], 9) for each in found}
    assert dropouts == {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}
    rates = [each["training.learning_rate"] for each in found]
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert min(rates) < 1e-4
    assert max(rates) > 1e-2
    assert {each["training.optimiser"] for each in found} == {"adam", "sgd"}
    assert {each["cells"] for each in found} == {"gru", "lstm"}


def test_groups_and_paths_and_flags_say_the_same() -> None:
    wanted = {"low": 32, "high": 256, "log": True}
    space = space_of(OPTIONS, {"model.hidden_size": wanted})
    assert space == Space((Range("model.hidden_size", 32, 256, True),))
    assert space_of(OPTIONS, {"model": {"hidden_size": wanted}}) == space
    assert space_of(OPTIONS, dict([read_search("hidden_size=32..256:log")])) == space
    assert space_of(
        OPTIONS, dict([read_search("model.hidden_size={low: 32, high: 256, log: true}")])
    )
    assert space_of(OPTIONS, space.plain()) == space
    cells = Space((Choice("cells", ("gru", "rnn")),))
    assert space_of(OPTIONS, dict([read_search("cell=gru, rnn")])) == cells
    other = Space((Range("model.hidden_size", 1, 2), Choice("model.pool", ("last", "max"))))
    assert together([space, other]).plain() == other.plain()


BAD: dict[str, tuple[Any, str]] = {
    "unknown": (
        {"model.hiden_size": [1, 2]},
        "model.hiden_size is no option; nearest: model.hidden",
    ),
    "other group": ({"training.dropout": [0, 0.1]}, "no option; nearest: model.dropout"),
    "data": ({"data.text": ["a", "b"]}, "data.text cannot be searched"),
    "seed": ({"training.seed": [1, 2]}, "training.seed cannot be searched"),
    "value": ({"model.layers": 3}, "model.layers is 3, but has to be a range, such as"),
    "one value": ({"model.layers": [3]}, r"is \[3\], but has to be a list of two or more"),
    "no high": ({"model.layers": {"low": 1}}, "model.layers has no 'high'"),
    "key": ({"model.layers": {"low": 1, "higher": 2}}, "has 'higher'; nearest: high"),
    "bounds": (
        {"model.layers": {"low": 0, "high": 2}},
        "layers, low is 0, but has to be 1 or more",
    ),
    "above": (
        {"model.dropout": {"low": 0, "high": 1}},
        "dropout, high is 1, but has to be below 1",
    ),
    "type": (
        {"model.layers": {"low": 1, "high": 2.5}},
        "high is 2.5, but has to be a whole number",
    ),
    "order": (
        {"model.layers": {"low": 3, "high": 2}},
        "low is 3, but has to be below high, which is 2",
    ),
    "log": (
        {"model.dropout": {"low": 0, "high": 0.5, "log": True}},
        "low is 0.0, .* above 0 with log",
    ),
    "log value": (
        {"model.layers": {"low": 1, "high": 2, "log": 1}},
        "log is 1, but has to be true",
    ),
    "step": (
        {"model.layers": {"low": 1, "high": 3, "step": 3}},
        "step is 3, but has to be above 0",
    ),
    "step, log": (
        {"model.layers": {"low": 1, "high": 3, "step": 1, "log": True}},
        "has log and step; leave one of them out",
    ),
    "no number": (
        {"training.optimiser": {"low": 1, "high": 2}},
        "is no number: give a list of values",
    ),
    "choice": ({"training.optimiser": ["adam", "sdg"]}, "is 'sdg', but has to be one of adam, sgd"),
    "cell": ({"cells": ["gru", "gruu"]}, "gruu"),
    "twice": ({"model.layers": [1, 2], "model": {"layers": [1, 3]}}, "model.layers occurs twice"),
    "empty": ({}, "search is empty"),
    "list": ([1], "has to name options"),
}


@pytest.mark.parametrize(("section", "message"), BAD.values(), ids=list(BAD))
def test_what_cannot_be_searched(section: Any, message: str) -> None:
    with pytest.raises(AnyrnnError, match=message):
        space_of(OPTIONS, section)


@pytest.mark.parametrize("text", ["hidden_size", "=1..2", "hidden_size="])
def test_flags_that_search_nothing(text: str) -> None:
    with pytest.raises(AnyrnnError, match=r"searches nothing; write NAME=LOW\.\.HIGH"):
        read_search(text)


def test_an_option_without_effect_is_refused() -> None:
    space = space_of(OPTIONS, {"training.momentum": [0.5, 0.9]})
    with pytest.raises(AnyrnnError, match="momentum has no effect with optimiser=adam"):
        space.check_needs(OPTIONS)
    both = {"training.momentum": [0.5, 0.9], "training.optimiser": ["adam", "sgd"]}
    space_of(OPTIONS, both).check_needs(OPTIONS)


@each_task
def test_the_default_space_of_a_task_holds_its_defaults(task: Any) -> None:
    required = {each.name: "x" for each in declared(task.options) if each.required}
    options = from_flat(task.options, required)
    space = default_space(options)
    assert {"training.learning_rate", "model.hidden_size"} <= space.plain().keys()
    assert space_of(options, space.plain()) == space
    values = space.values_of(options)
    assert values is not None
    assert values["model.hidden_size"] == options.model.hidden_size
    several = default_space(replaced(options, cells=("rnn", "gru")))
    assert several.plain() == {"cells": ["rnn", "gru"], **space.plain()}
    # The comment of init-config is that space.
    lines = commented(task.options, "a command").splitlines()[1:]
    section = yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines))["search"]
    section = {
        path: wanted | {k: float(v) for k, v in wanted.items() if isinstance(v, str)}
        for path, wanted in section.items()
    }  # YAML 1.1 reads 1e-05 as text
    assert space_of(options, section) == space


@each_task
def test_the_schema_has_what_can_be_searched(task: Any) -> None:
    found = schema(task.options)["properties"]
    paths = {each.path for each in declared(task.options)}
    assert {path for path in paths if path in found} >= {"cells", "training.batch_size"}
    assert not {path for path in found if path.startswith("data.")}
    rate = found["training.learning_rate"]["anyOf"][0]["properties"]
    assert rate["low"] == {"type": "number", "exclusiveMinimum": 0}
    assert found["training"]["properties"]["learning_rate"] == found["training.learning_rate"]
    assert found["learning_rate"] == found["training.learning_rate"]
    assert found["cells"]["anyOf"][0]["items"] == {"type": "string"}


def test_values_outside_the_space() -> None:
    assert (
        space_of(OPTIONS, {"model.hidden_size": {"low": 1, "high": 5}}).values_of(OPTIONS) is None
    )
    stepped = space_of(OPTIONS, {"model.dropout": {"low": 0, "high": 0.6, "step": 0.3}})
    assert stepped.values_of(OPTIONS) is None
    fitting = space_of(OPTIONS, {"model.dropout": {"low": 0, "high": 0.5, "step": 0.1}})
    assert fitting.values_of(OPTIONS) == {"model.dropout": 0.5}
