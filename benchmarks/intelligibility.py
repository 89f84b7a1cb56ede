"""What a recogniser makes out of a voice: python -m benchmarks.intelligibility RUN.

The test texts of a run of `anyrnn train speak` are recognised three times by PocketSphinx with the
model of American English in its package: from their recordings, from these after they went through
bands and back (what the voice could reach at best), and from what the voice says. The files that
the options of the run name are looked for in the folder in which the command runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy
import soxr
import torch
from numpy.typing import NDArray

from anyrnn.cli.terminal import say, say_table
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.texts import Normal
from anyrnn.tasks.speak.options import SpeechOptions
from anyrnn.tasks.speak.sound import waveform
from anyrnn.tasks.speak.task import Speak
from anyrnn.tasks.trained import load
from anyrnn.tasks.transcribe.scores import errors

ERROR_RATES = ("wer", "cer")
SAMPLE_RATE = 16_000  # what PocketSphinx' model was trained on
SILENCE = 0.2  # seconds before and after
LOUDEST = 20_000  # of the 32,767 of a sample of 16 bits


class Recogniser:
    """PocketSphinx with the model, the dictionary and the language model of its package."""

    def __init__(self) -> None:
        """Load them."""
        from pocketsphinx import Decoder  # pyright: ignore[reportMissingImports]

        self.decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")

    def __call__(self, samples: NDArray[Any], rate: int) -> str:
        """The words that it hears in samples."""
        resampled = soxr.resample(samples, rate, SAMPLE_RATE)
        scaled = resampled * (LOUDEST / max(float(numpy.abs(resampled).max()), 1e-9))
        heard = numpy.pad(scaled, int(SILENCE * SAMPLE_RATE)).astype(numpy.int16)
        self.decoder.start_utt()
        self.decoder.process_raw(heard.tobytes(), full_utt=True)
        self.decoder.end_utt()
        found = self.decoder.hyp()
        return found.hypstr if found else ""


def sounds(run: Path) -> tuple[list[str], int, dict[str, list[NDArray[Any]]]]:
    """The test texts of a run, the samples a second, and for each text three kinds of sound.

    Raises:
        AnyrnnError: It is no run of speech synthesis, or its files are missing.
    """
    model = load(run, kind=Speak)
    task = model.task
    _, part = task.read(task.options).measured
    rate = task.options.sound.sample_rate
    speaking = task.speaking(model.network, SpeechOptions())
    recorded = [numpy.asarray(samples) for samples in part.samples]
    return (
        [*part.texts],
        rate,
        {
            "recordings": recorded,
            "through bands and back": [through_bands(task.features, each) for each in recorded],
            "the voice": [speaking.sound(each) for each in speaking.utterances(part.texts)],
        },
    )


def through_bands(features: Features, samples: NDArray[Any]) -> NDArray[Any]:
    """Sound that has of a recording what a voice is to learn: its frames."""
    frames, _ = features(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    return waveform(features, frames[0], SpeechOptions().iterations)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser("python -m benchmarks.intelligibility", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder of anyrnn train speak")
    texts, rate, kinds = sounds(parser.parse_args().run)
    recognised, normal = Recogniser(), Normal(lowercase=True, punctuation=False)
    references = [normal(text) for text in texts]
    rows = []
    for kind, every in kinds.items():
        heard = [recognised(samples, rate) for samples in every]
        rates = [
            wrong / said for wrong, said in (errors(heard, references, r) for r in ERROR_RATES)
        ]
        rows.append([kind, *(f"{each:.1%}" for each in rates), heard[0]])
    say_table(["sound", *map(str.upper, ERROR_RATES), "heard first"], rows)
    say(f"{len(texts):,} texts; the first one: {references[0]}")


if __name__ == "__main__":
    main()
