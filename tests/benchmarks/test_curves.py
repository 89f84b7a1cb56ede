"""The learning curve of a run beside the same network's on torch.nn."""

import itertools
from pathlib import Path

import pytest

from anyrnn.errors import AnyrnnError
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.translate import Options
from benchmarks.curves import curves, main

WORDS = {"one": "ein", "two": "zwei", "red": "rot", "boat": "Boot"}
PAIRS = [(" ".join(w), " ".join(map(WORDS.get, w))) for w in itertools.product(WORDS, repeat=3)]  # pyright: ignore


def run_of(folder: Path, cell: str) -> Path:
    table = folder / "pairs.tsv"
    table.write_text("en\tde\n" + "".join("\t".join(pair) + "\n" for pair in PAIRS))
    values = {"data": table, "source": "en", "target": "de", "cells": (cell,), "epochs": 3}
    values |= {"source_tokens": "word", "target_tokens": "word", "beam": 1, "device": "cpu"}
    values |= {"embedding_size": 6, "hidden_size": 8, "batch_size": 8, "learning_rate": 0.01}
    return train(from_flat(Options, values), folder / "run").run


def test_both_learn_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path, "gru")
    ours, theirs = curves(run)
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        for name in ("training_loss", "validation_loss"):
            assert one[name] == pytest.approx(other[name], rel=1e-5)
    assert ours[2]["training_loss"] < ours[0]["training_loss"]
    monkeypatch.setattr("sys.argv", ["curves", str(run)])
    main()
    assert "3 and 3 epochs; losses differ by 0.0000" in capsys.readouterr().out


def test_what_torch_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(AnyrnnError, match=r"the cell mingru .* is not in torch\.nn"):
        curves(run_of(tmp_path, "mingru"))
