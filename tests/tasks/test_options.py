"""Options are declared once; every mistake is told in terms of the option."""

import copy
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy
import pytest

from anyrnn.errors import (
    AnyrnnError,
    DataError,
    OptionError,
    SizeError,
    WriteError,
    option_name,
)
from anyrnn.files import reading, writing
from anyrnn.tasks.classify import (
    DataOptions,
    ModelOptions,
    Options,
    TrainingOptions,
    VocabularyOptions,
)
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import (
    Option,
    OptionGroup,
    check_needs,
    declared,
    flat,
    from_flat,
    from_mapping,
    option,
    replaced,
    schema,
)
from anyrnn.tasks.options.nested import put
from anyrnn.tasks.options.option_checks import Need
from anyrnn.tasks.options.option_files import commented, read_options, read_setting
from anyrnn.tasks.options.training_options import RunOptions
from anyrnn.tasks.registry import TASKS, entry_named

DATA = {"data": "a.csv", "text": "t", "label": "l"}
SPOKEN = {"data": "a.csv", "recording": "r", "transcript": "t", "speaker": "s"}
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))


class Layers(OptionGroup, panel="Layers"):
    sizes: tuple[int, ...] = option((8,), "The size of each layer.", ge=1)
    kind: Literal["a", "b"] = option("a", "Which.")


class Tasks(OptionGroup, panel="All"):
    name: str = option(..., "A name.")
    rate: float | None = option(None, "A rate.", gt=0, le=2)
    layers: Layers = Layers()


def test_no_file_has_a_zero_byte_in_its_name() -> None:
    for name, value in {"data": Path("a\0b"), "validation_data": "a\0b"}.items():
        with pytest.raises(OptionError, match=rf"{name} is .*a\\x00b.*: no name of a file has a"):
            from_flat(Options, {**DATA, name: value})
    with pytest.raises(DataError, match="there is no file a\0b"), reading("a\0b"):
        Path("a\0b").read_bytes()
    with pytest.raises(WriteError, match="cannot write a\0b: no name"), writing("a\0b"):
        Path("a\0b").mkdir()


def test_numbers_and_lists_of_numpy() -> None:
    found = from_flat(
        Options,
        {
            **DATA,
            "hidden_size": numpy.int64(4),
            "dropout": numpy.float32(0.5),
            "bidirectional": numpy.bool_(False),
            "optimiser": numpy.str_("sgd"),
            "cells": numpy.array(["gru", "rnn"]),
        },
    )
    values = flat(found)
    assert values["cells"] == ("gru", "rnn")
    kinds = {name: type(values[name]) for name in ("hidden_size", "dropout", "bidirectional")}
    assert kinds == {"hidden_size": int, "dropout": float, "bidirectional": bool}
    assert values["optimiser"] == "sgd"
    for name, value in (("hidden_size", numpy.float64(1.5)), ("dropout", numpy.zeros(2))):
        with pytest.raises(SizeError, match=f"{name} is .*, but has to be a"):
            from_flat(Options, {**DATA, name: value})


def test_options_are_plain_values() -> None:
    made = Options(
        DataOptions("a.csv", "t", "l"),  # pyright: ignore[reportArgumentType]
        cells=["gru", "rnn", "gru"],  # pyright: ignore[reportArgumentType]
        model=ModelOptions(hidden_size=3),
    )
    assert made.data.data == Path("a.csv")
    assert made.cells == ("gru", "rnn")
    assert asdict(made)["model"]["hidden_size"] == 3
    assert replace(made.training, seed=4) == replaced(made.training, seed=4)
    assert copy.deepcopy(made) == made == pickle.loads(pickle.dumps(made))
    assert hash(made) == hash(copy.deepcopy(made))
    assert from_mapping(Options, made.plain()) == made == from_flat(Options, flat(made))
    with pytest.raises(AttributeError):
        made.model.layers = 2  # pyright: ignore[reportAttributeAccessIssue]
    assert TrainingOptions(learning_rate=1).learning_rate == 1.0


def test_numbers_of_numpy() -> None:
    made = TrainingOptions(epochs=numpy.int64(3), clip=numpy.float32(0.5), seed=numpy.uint8(7))
    assert made == TrainingOptions(epochs=3, clip=0.5, seed=7)
    assert {type(made.epochs), type(made.seed), type(made.clip)} == {int, float}
    for wrong in (numpy.bool_(True), numpy.float64(3), numpy.array([3, 4])):
        with pytest.raises(SizeError, match="has to be a whole number"):
            TrainingOptions(epochs=wrong)  # pyright: ignore[reportArgumentType]


WRONG_TRAINING: list[tuple[dict[str, object], type[AnyrnnError], str]] = [
    ({"epochs": 0}, SizeError, "epochs is 0, but has to be 1 or more"),
    ({"epochs": True}, SizeError, "epochs is True, but has to be a whole number"),
    ({"epochs": 2.0}, SizeError, "epochs is 2.0, but has to be a whole number"),
    ({"epochs": "2"}, SizeError, "epochs is '2', but has to be a whole number"),
    ({"epochs": 2**31}, SizeError, "epochs is 2147483648, but has to be 2147483647 or less"),
    ({"seed": -1}, SizeError, "seed is -1, but has to be 0 or more"),
    (
        {"seed": 2**63},
        SizeError,
        "seed is 9223372036854775808, but has to be 9223372036854775807 or less",
    ),
    ({"learning_rate": 0}, SizeError, "learning_rate is 0, but has to be above 0"),
    ({"learning_rate": "x"}, SizeError, "learning_rate is 'x', but has to be a number"),
    ({"learning_rate": True}, SizeError, "learning_rate is True, but has to be a number"),
    ({"learning_rate": None}, SizeError, "learning_rate is None, but has to be a number"),
    ({"clip": float("nan")}, SizeError, "clip is nan, but has to be a finite number"),
    ({"clip": float("inf")}, SizeError, "clip is inf, but has to be a finite number"),
    ({"clip": 1e39}, SizeError, "clip is 1e+39, but has to be 1e+38 or less"),
    ({"device": "tpu"}, OptionError, "device is 'tpu', but has to be one of auto, cpu, cuda"),
    ({"learning_rat": 1}, OptionError, "learning_rat is no option; did you mean learning_rate?"),
    ({"xyz": 1}, OptionError, "xyz is no option; there are epochs, patience, "),
]


@pytest.mark.parametrize(("values", "kind", "message"), WRONG_TRAINING)
def test_a_wrong_value(values: dict[str, Any], kind: type[AnyrnnError], message: str) -> None:
    with pytest.raises(kind) as caught:
        TrainingOptions(**values)
    assert message in str(caught.value)
    if next(iter(values)) in TrainingOptions.__declared__:
        with pytest.raises(kind) as caught:
            from_mapping(Options, {"data": DATA, "training": values})
        assert f"training.{message}" in str(caught.value) or kind is OptionError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "data.data is missing"),
        ({"data": {"text": "a", "label": "b"}}, "data.data is missing"),
        ({"data": DATA | {"label": 1}}, "data.label is 1, but has to be text; in a file, put it"),
        ({"data": DATA | {"data": 1}}, "data.data is 1, but has to be a path"),
        ({"data": DATA | {"header": 1}}, "data.header is 1, but has to be true or false"),
        ({"data": DATA | {"header": "yes"}}, "data.header is 'yes', but has to be true or false"),
        ({"data": DATA, "cells": []}, "cells is [], but has to be a list of 1 or more"),
        ({"data": DATA, "cells": {"gru": 1}}, "cells is {'gru': 1}, but has to be a list"),
        ({"data": DATA, "cells": [1]}, "cells is 1, but has to be text"),
        ({"data": DATA, "model": {"pool": "sum"}}, "model.pool is 'sum', but has to be one of la"),
        ({"data": DATA, "model": 3}, "model is 3, but has to be a group of options, such as model"),
        ({"data": DATA, "model": {"hidden_siz": 3}}, "did you mean model.hidden_size?"),
        ({"data": DATA, "hidden_size": 3}, "hidden_size is no option; did you mean model.hidden"),
        ({"data": DATA, "epochs": 3}, "epochs is no option; did you mean training.epochs?"),
        ({"data": DATA, "training": {"hidden_size": 3}}, "training.hidden_size is no option"),
        ({"data": DATA, "trainig": {}}, "trainig is no option; did you mean training?"),
        ({"data": DATA, 3: 4}, "3 is no option; there are data, cells, vocabulary, numbers, m"),
    ],
)
def test_a_wrong_mapping(values: dict[Any, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        from_mapping(Options, values)
    assert message in str(caught.value)


def test_arguments_by_position() -> None:
    with pytest.raises(OptionError, match="Layers has only 2 options"):
        Layers((1,), "a", 3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(OptionError, match="epochs is given twice"):
        TrainingOptions(1, epochs=2)  # pyright: ignore[reportCallIssue]
    with pytest.raises(SizeError, match="patience is 0"):
        TrainingOptions(1, 0)


def test_lists_and_what_may_be_missing() -> None:
    made = from_mapping(Tasks, {"name": "x", "layers": {"sizes": [4, 4]}})
    assert made.layers.sizes == (4, 4)
    assert made.rate is None
    assert Tasks("x", rate=2).rate == 2.0
    assert from_mapping(Tasks, {"name": "x", "layers": None}).layers == Layers()
    with pytest.raises(SizeError, match="rate is 3, but has to be 2 or less"):
        Tasks("x", rate=3)
    with pytest.raises(SizeError, match=r"layers\.sizes is '4', but has to be a whole number"):
        from_mapping(Tasks, {"name": "x", "layers": {"sizes": [4, "4"]}})
    with pytest.raises(OptionError, match="name is missing"):
        Tasks()
    assert [found.bounds for found in declared(Tasks)] == ["", "from above 0 to 2", "", ""]


class Files(OptionGroup, last=True):
    encoding: str = option("utf-8", "An encoding.")
    header: bool = option(True, "A header.")


class Named(Tasks, Files, panel="Named"):
    header: bool = option(False, "Another header.")
    own: int = option(1, "A number of its own.")


def test_a_group_whose_options_come_last() -> None:
    order = [found.path for found in declared(Named)]
    assert order == ["name", "rate", "layers.sizes", "layers.kind", "own", "encoding", "header"]
    made = Named("x", 0.5)
    assert made == Named(name="x", rate=0.5, header=False)
    assert replaced(made, own=2, encoding="cp1252") == Named("x", 0.5, Layers(), 2, "cp1252")
    with pytest.raises(OptionError, match="name is missing"):
        Named(encoding="utf-8")


@each_task
def test_every_option_has_a_name_a_help_and_flags_of_its_own(task: Any) -> None:
    from anyrnn.cli.options import flags

    for kinds in ((task.options, RunOptions), (task.predict_options,)):
        found = [each for kind in kinds for each in declared(kind)]
        names = Counter(each.name for each in found)
        every = Counter(name for each in found for name in flags(each))
        assert max(names.values()) == max(every.values()) == 1, (names, every)
        assert not {"--config", "--set", "--help", "-h", "--json"} & every.keys()
        assert not {"run", "ctx", "config", "set", "json"} & names.keys()
        for each in found:
            default = each.declaration.default
            if default not in (..., None) and isinstance(each.type, type):
                assert isinstance(default, (float, int) if each.type is float else each.type)
            assert each.declaration.help.endswith(".")
            assert each.panel


BEAMS = [
    pytest.param(kind, found.path, id=f"{entry.name}-{kind.__name__}")
    for entry in TASKS.values()
    for kind in dict.fromkeys((entry.options, entry.predict_options, entry.verb_options))
    for found in declared(kind)
    if found.name == "beam"
]


@pytest.mark.parametrize(("kind", "path"), BEAMS)
def test_the_largest_beam(kind: type[OptionGroup], path: str) -> None:
    values = {each.name: "x" for each in declared(kind) if each.required}
    assert flat(from_flat(kind, values | {"beam": 1000}))["beam"] == 1000
    with pytest.raises(SizeError, match=f"{path} is 1001, but has to be 1000 or less"):
        from_flat(kind, values | {"beam": 1001})


def test_every_search_has_a_largest_beam() -> None:
    assert len(BEAMS) == 7  # translate, transcribe, caption: to measure a result, and to ask


def _other(found: Option) -> Any:
    """A value of an option that is not its default."""
    default = found.declaration.default
    if found.choices:
        return next(each for each in found.choices if each != default)
    kinds = {bool: not default, int: max(7, found.declaration.ge or 0), float: 0.25, Path: "x.csv"}
    return ("x",) if found.several else kinds.get(found.type, "x")


def _beside(name: str, value: Any) -> dict[str, Any]:
    """An option, and what its value asks for."""
    asked = {"text": {"text": "t", "label": "l"}, "csv": {"label": "l", "time": "t"}}
    if name == "time":
        return {name: value, "format": "csv", "label": "l"}
    return {name: value, **(asked.get(value, {}) if name == "format" else {})}


KINDS = [
    kind
    for entry in TASKS.values()
    for kind in dict.fromkeys((entry.options, entry.predict_options, entry.verb_options))
]
NEEDS = [
    pytest.param(
        kind, found, need, id=f"{kind.__module__}-{kind.__name__}-{found.name}-{need.name}"
    )
    for kind in KINDS
    for found in declared(kind)
    for need in found.declaration.needs
    if need.name in {each.name for each in declared(kind)}
]


@pytest.mark.parametrize(("kind", "found", "need"), NEEDS)
def test_an_option_that_another_choice_makes_void(
    kind: type[OptionGroup], found: Option, need: Need
) -> None:
    (other,) = (each for each in declared(kind) if each.name == need.name)
    required = {each.name: "x.ts" for each in declared(kind) if each.required}
    given = {found.name: _other(found)}
    values = (*other.choices, None, True, False, 0, 0.5, 1, 2, "x.ts")
    values += ("-",) if other.declaration.argument else ()
    fitting = [each for each in values if _can_be(kind, required | {need.name: each})]
    effects = {each: need.met(each) for each in fitting if each != "auto"}
    assert {*effects.values()} == {True, False}
    for value, has_effect in effects.items():
        options = from_flat(kind, required | _beside(need.name, value) | given)
        if has_effect:
            check_needs(options)
            continue
        with pytest.raises(OptionError) as caught:
            check_needs(options)
        assert caught.value.told("--{}".format).startswith(f"--{found.name} has no effect with")
        assert f"--{need.name}" in caught.value.told("--{}".format)
        check_needs(from_flat(kind, required | _beside(need.name, value)))


def _can_be(kind: type[OptionGroup], values: dict[str, Any]) -> bool:
    try:
        from_flat(kind, values)
    except AnyrnnError:
        return False
    return True


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "a.ts", "text": "t"}, "text has no effect with format=ts; use format=text, or"),
        ({"lowercase": False, "data": "a.npz"}, "lowercase has no effect with format=npz; use"),
        ({"scaling": "none"}, "format=text; use format=ts, format=csv or format=npz, or leave"),
        ({"decay": 0.1}, "schedule=constant; use schedule=plateau or schedule=step, or leave dec"),
        ({"node_rank": 1}, "effect with nodes=1; give another value of nodes, or leave node_rank"),
        ({"data": "a.ts", "label": "l", "validation_data": "b.csv", "sequence": "s"}, ""),
        (
            DATA | {"data": "a.jsonl", "separator": ";"},
            "separator has no effect on JSON lines; lea",
        ),
        (
            DATA | {"data": "a.parquet", "encoding": "cp1252"},
            "encoding has no effect on parquet; l",
        ),
        (DATA | {"data": "a.jsonl.gz", "test_data": "b.tsv", "header": False}, ""),
    ],
)
def test_what_is_said_of_a_void_option(values: dict[str, Any], message: str) -> None:
    known = DATA if "data" not in values else {}
    _check_said(Options, known | values, message)


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ("generate", {"text": "t", "data": ("a.jsonl", "b.pq"), "header": False}, "on JSON lines;"),
        ("generate", {"text": "t", "data": ("a.jsonl", "b.csv"), "header": False}, ""),
        (
            "transcribe",
            {**SPOKEN, "validation_data": "b.csv", "test_share": 0},
            "speaker has no effect on data of which nothing is split off; leave speaker out",
        ),
        (
            "speak",
            {**SPOKEN, "validation_data": "b.csv", "test_data": "c.csv"},
            "speaker has no effect on data of which nothing is split off; leave speaker out",
        ),
        ("speak", {**SPOKEN, "validation_data": "b.csv"}, ""),
        (
            "generate",
            {"data": "a.txt", "tied": True, "adaptive_softmax": True},
            "tied has no effect with adaptive_softmax=True, which has vectors of several sizes; l",
        ),
        (
            "forecast",
            {"data": "a.ndjson", "separator": ";"},
            "separator has no effect on JSON lines",
        ),
        (
            "forecast",
            {"data": "a.csv", "decoding": "recursive", "form": "segments"},
            "with form=segments, which are decoded at once; use form=steps, or leave decoding out",
        ),
        (
            "forecast",
            {"data": "a.csv", "decoding": "recursive", "past_covariates": "rain"},
            "with decoding=recursive, which would have to read it in the future; use decoding=dire",
        ),
    ],
)
def test_what_is_said_in_other_tasks(task: str, values: dict[str, Any], message: str) -> None:
    _check_said(TASKS[task].options, values, message)


def _check_said(kind: type[OptionGroup], values: dict[str, Any], message: str) -> None:
    options = from_flat(kind, values)
    if not message:  # one of the files has an effect of it
        check_needs(options)
        return
    with pytest.raises(OptionError) as caught:
        train(options, "never")
    assert message in str(caught.value)


def test_needs_are_told_in_files() -> None:
    text = " ".join(commented(Options, "a title").replace("#", "").split())
    assert "(number, from 0 to below 1; only with optimiser sgd)" in text
    assert "only with format ts, csv or npz)" in text


def test_the_options_alone_are_light() -> None:
    program = """if True:
    import sys
    from anyrnn.tasks.registry import TASKS
    for name, task in TASKS.items():
        task.options, task.predict_options
        assert not {'torch', 'lightning', 'pandas', 'tokenizers'} & {*sys.modules}, name
    """
    subprocess.run([sys.executable, "-c", program], check=True)


@each_task
def test_the_schema_has_every_option(task: Any) -> None:
    found = schema(task.options)
    for each in declared(task.options):
        inner = found
        for name in each.path.split("."):
            while "$ref" in inner:
                inner = found["$defs"][inner["$ref"].rpartition("/")[2]]
            assert inner["additionalProperties"] is False
            inner = inner["properties"][name]


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="no task is called 'clasify'; nearest: classify"):
        entry_named("clasify")


def test_names_of_options_in_messages() -> None:
    error = DataError(f"give {option_name('skip_bad', True)} or {option_name('data.text', 'x')}")
    assert str(error) == "give skip_bad=True or data.text=x"
    assert error.told(lambda name: f"--{name}") == "give --skip_bad or --data.text x"
    off = DataError(f"use {option_name('model.tied', False)}")
    assert str(off) == "use model.tied=False"
    assert off.told(lambda name: "--tied") == "use --no-tied"
    assert off.told(lambda name: f"{name} in a.yaml") == "use model.tied in a.yaml False"
    assert str(DataError(f"{error.message}!")) == "give skip_bad=True or data.text=x!"
    # A word of the user's that is called like an option stays as it is.
    assert DataError("no column 'skip_bad'").told(lambda _: "--x") == "no column 'skip_bad'"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("3", 3),
        ("-2.5", -2.5),
        ("true", True),
        ("no", "no"),
        ("007", "007"),
        ("2020-01-01", "2020-01-01"),
        ("1:30", "1:30"),
        ("null", None),
        ("", None),
        ("[gru, lstm]", ["gru", "lstm"]),
        ("'3'", "3"),
        ("a=b", "a=b"),
    ],
)
def test_values_of_settings(text: str, value: object) -> None:
    assert read_setting(f"data.text={text}") == ("data.text", value)


@each_task
def test_a_written_file_reads_back(task: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(commented(task.options, "a title"), encoding="utf-8")
    values = read_options(path)
    required = [each for each in declared(task.options) if each.required]
    for each in required:
        put(values, each.path, "x")
    defaults = {each.name: "x" for each in required}
    assert from_mapping(task.options, values) == from_flat(task.options, defaults)
    text = path.read_text(encoding="utf-8")
    for each in declared(task.options):
        assert f"{each.name}:" in text


BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "missing": ("none.yaml", b"", "there is no file"),
    "suffix": ("a.ini", b"a", r"use \.yaml, \.toml or \.json"),
    "empty": ("a.yaml", b"", "is empty"),
    "comments only": ("a.yaml", b"# x\n", "is empty"),
    "empty json": ("a.json", b" ", "is empty"),
    "empty toml": ("a.toml", b"", "is empty"),
    "a list": ("a.yaml", b"- model", "is a list"),
    "a list in json": ("a.json", b"[1]", "is a list"),
    "a value": ("a.yaml", b"model", "is a single value"),
    "broken yaml": ("a.yaml", b"model: [1", "is not YAML: .* in line 1, column 10"),
    "a tab": ("a.yaml", b"model:\n\tlayers: 1", "is not YAML: .* in line 2"),
    "broken json": ("a.json", b'{"a": ', "is not JSON: .* line 1"),
    "broken toml": ("a.toml", b"[model]\nlayers=", "is not TOML: "),
    "twice": ("a.yaml", b"model:\n  layers: 1\n  layers: 2", "'layers' occurs twice.* line 3"),
    "twice in json": ("a.json", b'{"a": 1, "a": 2}', "'a' occurs twice"),
    "twice in toml": ("a.toml", b"a = 1\na = 2", "is not TOML"),
    "two documents": ("a.yaml", b"a: 1\n---\nb: 1", "is not YAML"),
    "code": ("a.yaml", b"a: !!python/name:os.system", "is not YAML: could not determine"),
    "not utf-8": ("a.yaml", b"a: \xff", "is not utf-8"),
    "nested": ("a.yaml", b"[" * 100_000, "nested too deeply"),
    "nested json": ("a.json", b"[" * 1_000_000, "nested too deeply"),
    "huge number": ("a.yaml", b"a: " + b"9" * 9999, "is not YAML"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name: str, tmp_path: Path) -> None:
    file, content, message = BAD_FILES[name]
    if content or "missing" not in name:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_options(tmp_path / file)
    assert str(tmp_path / file) in str(caught.value)


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    texts = {
        "a.yaml": "\ufeffmodel:\n  layers: 2\ncells: [gru]\n",
        "a.toml": 'cells = ["gru"]\n[model]\nlayers = 2\n',
        "a.json": '{"model": {"layers": 2}, "cells": ["gru"]}',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_options(tmp_path / name) == {"model": {"layers": 2}, "cells": ["gru"]}


def test_a_vocabulary_is_a_group() -> None:
    made = Options(DataOptions(**DATA), vocabulary=VocabularyOptions(tokens="bpe"))
    assert flat(made)["tokens"] == "bpe"
