"""What a recogniser makes out of a voice."""

import runpy
from pathlib import Path
from typing import Any

import numpy
import pytest

from anyrnn.errors import RunError
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import from_flat
from anyrnn.tasks.speak import Options
from benchmarks import intelligibility

TONES = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "tones" / "tones.py"))
SMALL = {"sample_rate": 8000, "window": 0.04, "hop": 0.02, "mels": 20, "hidden_size": 8}
SMALL |= {"reduction": 4, "epochs": 1, "deciding": "loss", "device": "cpu"}


class Notes:
    """Hears the note of each letter where it is one."""

    def __call__(self, samples: numpy.ndarray, rate: int) -> str:
        assert rate == 8000
        heard = [
            numpy.abs(numpy.fft.rfft(samples[round(rate * (0.12 * n + 0.03)) :][:600], rate))
            for n in range(round(len(samples) / rate / 0.12))
        ]
        return "".join(
            min(TONES["NOTES"], key=lambda letter: abs(TONES["NOTES"][letter] - each.argmax()))
            if each.max() > 1
            else " "
            for each in heard
        )


def test_recordings_are_made_out_and_an_untrained_voice_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    TONES["write"](tmp_path / "tones", 30)
    files: dict[str, Any] = {"data": tmp_path / "tones" / "texts.tsv"}
    files |= {"recording": "file", "transcript": "text", "cells": ("gru",)}
    run = train(from_flat(Options, {**SMALL, **files}), tmp_path / "run").run
    monkeypatch.setattr(intelligibility, "Recogniser", Notes)
    monkeypatch.setattr("sys.argv", ["intelligibility", str(run)])
    intelligibility.main()
    lines = capsys.readouterr().out.splitlines()
    rates = {
        kind: float(line.split("%")[1])
        for line in lines
        for kind in ("recordings", "through bands and back", "the voice")
        if kind in line
    }
    assert rates["recordings"] < 20 < 70 < rates["the voice"]
    assert rates["through bands and back"] < 40


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        intelligibility.sounds(tmp_path)
