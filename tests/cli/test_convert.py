"""`anyrnn convert`: files of weights of Keras and PyTorch."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import anyrnn.torch
from outcomes import mistake

X = np.random.default_rng(1).standard_normal((2, 7, 3)).astype("float32")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sequential(*layers: Any) -> Any:
    """A model with its input, and weights of which no two are alike."""
    model = keras.Sequential([keras.Input((None, 3)), *layers])
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.standard_normal(variable.shape) * 0.3)
    return model


def stacked() -> Any:
    return sequential(
        *(
            keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True), name=name)
            for name in ("first", "second")
        )
    )


def classifier() -> Any:
    return sequential(
        keras.layers.GRU(4, name="gru"), keras.layers.Dense(2, "softmax", name="dense")
    )


def of_keras(model: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(X))


def of_torch(module: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return module(torch.tensor(X))[0].numpy()


def assert_same(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
def test_a_stack_goes_there_and_back(run, ending: str) -> None:
    model = stacked()
    save = model.save if ending == "keras" else model.save_weights
    save(f"model.{ending}")
    code, out, err = run("convert", f"model.{ending}", "model.safetensors")
    assert (code, err) == (0, "")
    made = "torch.nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True)"
    assert made in " ".join(out.split())
    theirs = eval(made)
    theirs.load_state_dict(load_file("model.safetensors"))
    assert_same(of_torch(theirs), of_keras(model))

    code, out, err = run("convert", "model.safetensors", f"again.{ending}")
    assert (code, err) == (0, "")
    assert "layer 1" in out
    again = stacked()
    if ending == "keras":
        again = keras.saving.load_model("again.keras")
    else:
        again.load_weights("again.weights.h5")
    for found, kept in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, kept)
    assert sorted(path.name for path in Path().iterdir()) == sorted(
        [f"model.{ending}", "model.safetensors", f"again.{ending}"]
    )


def test_a_model_trained_in_pytorch_gives_the_same_in_keras(run) -> None:
    theirs = torch.nn.ModuleDict(
        {"encoder": torch.nn.GRU(3, 4, batch_first=True), "head": torch.nn.Linear(4, 2)}
    )
    save_file(theirs.state_dict(), "trained.safetensors")
    classifier().save("untrained.keras")
    options = ["--like", "untrained.keras"]
    assert run("convert", "trained.safetensors", "trained.keras", *options)[0] == 0
    assert run("convert", "trained.safetensors", "trained.weights.h5", *options)[0] == 0
    with torch.no_grad():
        last = theirs["encoder"](torch.tensor(X))[0][:, -1]
        wanted = torch.softmax(theirs["head"](last), -1).numpy()
    assert_same(of_keras(keras.saving.load_model("trained.keras")), wanted)
    model = classifier()
    model.load_weights("trained.weights.h5")
    assert_same(of_keras(model), wanted)

    names = ["--name", "gru=encoder", "--name", "dense=head"]
    code, out, _ = run("convert", "trained.keras", "back.safetensors", *names)
    assert code == 0
    assert "head = torch.nn.Linear(4, 2), then softmax" in " ".join(out.split())
    back = load_file("back.safetensors")
    assert all(torch.equal(back[name], each) for name, each in theirs.state_dict().items())


@pytest.mark.parametrize("cell", ["rnn", "rnn_relu", "gru_reset_before"])
def test_the_cell_is_asked_for_where_the_file_does_not_say(run, cell: str) -> None:
    ours = anyrnn.torch.Recurrent(cell, 3, 4, batch_first=True)
    save_file(ours.state_dict(), "ours.safetensors")
    err = mistake(run("convert", "ours.safetensors", "ours.keras"))
    assert "ours.safetensors does not say which cell it is for; add --cell, one of " in err
    assert cell in err
    assert run("convert", "ours.safetensors", "ours.keras", "--cell", cell)[0] == 0
    assert_same(of_keras(keras.saving.load_model("ours.keras")), of_torch(ours))


def test_gru_weights_say_which_form_they_are_of_unless_they_lack_a_bias(run) -> None:
    for after in (True, False):
        model = sequential(keras.layers.GRU(4, reset_after=after))
        model.save_weights("gru.weights.h5")
        assert run("convert", "gru.weights.h5", "gru.safetensors", "--overwrite")[0] == 0
        assert ("weight_ih_l0" in load_file("gru.safetensors")) == after
    sequential(keras.layers.GRU(4, use_bias=False)).save_weights("bare.weights.h5")
    code, _, err = run("convert", "bare.weights.h5", "bare.safetensors")
    assert (code, "does not say which cell" in err) == (2, True)
    assert run("convert", "bare.weights.h5", "bare.safetensors", "--cell", "gru")[0] == 0


def write_files() -> None:
    """The files that the mistakes below are made with."""
    model = classifier()
    model.save("model.keras")
    model.save_weights("model.weights.h5")
    stacked().save("stack.keras")
    sequential(keras.layers.Conv1D(2, 3, name="conv")).save("conv.keras")
    sequential(keras.layers.GRU(5, name="gru"), keras.layers.Dense(2)).save("wider.keras")
    mixed = sequential(keras.layers.GRU(4, return_sequences=True), keras.layers.LSTM(4))
    mixed.save_weights("mixed.weights.h5")
    sequential(keras.layers.GRU(4)).save("gru.keras")
    save_file(torch.nn.LSTM(3, 4).state_dict(), "lstm.safetensors")
    linear = torch.nn.Linear(4, 2).state_dict()
    save_file({f"fc.{name}": value for name, value in linear.items()}, "fc.safetensors")
    Path("text.keras").write_text("no zip", encoding="utf-8")
    Path("text.weights.h5").write_text("no HDF5", encoding="utf-8")
    Path("text.safetensors").write_text("no tensors", encoding="utf-8")
    Path("old.h5").touch()
    Path("model.pt").touch()
    Path("folder.keras").mkdir()


MISTAKES = {
    "no.keras out.safetensors": "there is no file no.keras",
    "model.keras out.keras": "files of one framework; one of them has to end in .safetensors",
    "model.pt out.keras": "cannot tell what model.pt is by its name; expected .keras, .weights.h5 "
    "or .safetensors; safetensors.torch.save_file(",
    "old.h5 out.safetensors": "expected .keras, .weights.h5 or .safetensors; keras.saving.load_mod",
    "model.keras lstm.safetensors": "lstm.safetensors exists; choose another name, or replace it",
    "lstm.safetensors folder.keras --overwrite": "folder.keras is a folder; choose another name",
    "model.keras no/out.safetensors": "cannot write no/out.safetensors: there is no folder no",
    "text.keras out.safetensors": "text.keras is no sound .keras file: it is no zip file",
    "text.weights.h5 out.safetensors": "text.weights.h5 is no sound .weights.h5 file: ",
    "text.safetensors out.keras": "text.safetensors is no sound safetensors file: ",
    "conv.keras out.safetensors": "layer 'conv' is a Conv1D; only SimpleRNN, LSTM, GRU",
    "fc.safetensors out.keras": "fc.safetensors holds 'fc' (bias (2,), weight (2, 4)), and does "
    "not say in what order a model has its layers; give the model with --like MODEL.keras",
    "model.weights.h5 out.safetensors": "model.weights.h5 holds layers/dense/vars/0, and does not "
    "say what layers a model has; give the model with --like MODEL.keras",
    "mixed.weights.h5 out.safetensors": "mixed.weights.h5 holds layers of several kinds",
    "lstm.safetensors out.keras --like model.keras": "nothing has the sizes of layer 'gru' (GRU: ",
    "lstm.safetensors out.keras --like lstm.safetensors": "expected a .keras file, which says what",
    "lstm.safetensors out.keras --cell gru": "--cell gru: the sizes in lstm.safetensors are those "
    "of lstm",
    "lstm.safetensors out.keras --cell grue": "no layer of Keras has the cell 'grue'; known: rnn,",
    "lstm.safetensors out.keras --name lstm": "--name lstm: expected KERAS=TORCH, as in --name",
    "model.weights.h5 out.safetensors --like wider.keras": "model.weights.h5 does not fit the "
    "model: ",
    "model.weights.h5 out.safetensors --like gru.keras": "model.weights.h5 holds 5 arrays of "
    "weights; the model has 3",
    "model.keras out.safetensors --like stack.keras": "model.keras says itself which layers it",
    "model.keras out.safetensors --name lstm=x": "no layer with weights is called 'lstm'; there "
    "are: gru, dense",
}


def test_mistakes_are_one_line_and_exit_code_2(run) -> None:
    write_files()
    before = sorted(Path().iterdir())
    for arguments, message in MISTAKES.items():
        assert message in mistake(run("convert", *arguments.split())), arguments
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("safetensors", ".safetensors files need 'safetensors', which is not installed; pip inst"),
        ("h5py", ".weights.h5 files need 'h5py', which is not installed; pip install h5py"),
    ],
)
def test_missing_libraries(run, monkeypatch: pytest.MonkeyPatch, module: str, message: str) -> None:
    classifier().save_weights("a.weights.h5")
    monkeypatch.setitem(sys.modules, module, None)
    assert message in mistake(run("convert", "a.weights.h5", "b.safetensors"))


def in_a_process(without: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the program where some libraries are not installed."""
    code = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):  # None in sys.modules would be taken for a module by SciPy
    @classmethod
    def find_spec(cls, name, *others):
        return None if name in {without!r} else PathFinder.find_spec(name, *others)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
sys.argv = ["anyrnn", *{arguments!r}]
from anyrnn.cli.main import main
main()
"""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )


def test_without_keras() -> None:
    done = in_a_process(["keras"], ["convert", "a.keras", "b.safetensors"])
    assert done.returncode == 2
    assert done.stderr == (
        "anyrnn: error: anyrnn.keras needs 'keras', which is not installed; "
        "pip install 'anyrnn[keras]'\n"
    )


def test_no_framework_is_needed_besides_keras() -> None:
    classifier().save("a.keras")
    done = in_a_process(["torch", "tensorflow"], ["convert", "a.keras", "b.safetensors"])
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(load_file("b.safetensors")) == [
        "dense.bias",
        "dense.weight",
        "gru.bias_hh_l0",
        "gru.bias_ih_l0",
        "gru.weight_hh_l0",
        "gru.weight_ih_l0",
    ]


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
def test_names_that_are_no_text(run, ending: str) -> None:
    odd = os.fsdecode(b"caf\xe9")
    model = stacked()
    (model.save if ending == "keras" else model.save_weights)(f"a.{ending}")
    os.rename(f"a.{ending}", f"{odd}.{ending}")
    assert run("convert", f"{odd}.{ending}", f"{odd}.safetensors")[0] == 0
    assert run("convert", f"{odd}.safetensors", f"again{odd}.{ending}")[0] == 0
    assert Path(f"again{odd}.{ending}").exists()


@pytest.mark.parametrize("target", ["b.safetensors", "b.keras", "b.weights.h5"])
def test_a_full_disk_leaves_what_was_there(
    run, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    classifier().save("a.keras")
    run("convert", "a.keras", "a.safetensors")
    Path(target).write_bytes(b"before")
    names = sorted(Path().iterdir())

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    source = "a.keras" if target.endswith("safetensors") else "a.safetensors"
    like = [] if target.endswith("safetensors") else ["--like", "a.keras"]
    code, _, err = run("convert", source, target, "--overwrite", *like)
    assert (code, err) == (
        2,
        f"anyrnn: error: cannot write {target}: No space left on device\n",
    )
    assert Path(target).read_bytes() == b"before"
    assert sorted(Path().iterdir()) == names


def test_what_appears_meanwhile_is_not_replaced(run, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier().save("a.keras")
    fsync = os.fsync

    def appear(handle: int) -> None:
        fsync(handle)
        Path("b.safetensors").write_text("mine")

    monkeypatch.setattr(os, "fsync", appear)
    code, _, err = run("convert", "a.keras", "b.safetensors")
    assert (code, "b.safetensors exists" in err) == (2, True)
    assert Path("b.safetensors").read_text() == "mine"


def test_a_layer_has_one_name(run) -> None:
    classifier().save("a.keras")
    names = ["--name", "gru=a", "--name", "gru=b"]
    code, _, err = run("convert", "a.keras", "b.safetensors", *names)
    assert (code, err) == (
        2,
        "anyrnn: error: --name gru=b: the layer 'gru' is called 'a' already\n",
    )
