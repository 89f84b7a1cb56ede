"""What a user can choose when a network of a run is looked into."""

from pathlib import Path

from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.words import Language


class InspectOptions(OptionGroup, panel="Input and output"):
    """Which input a network reads while it is looked into, and what of its answer is explained."""

    input: str | None = option(
        None,
        "What the network reads: a text, a sentence, a prompt; a recording; a picture; or for "
        "numbers a file like that of the training.",
        metavar="TEXT|FILE",
        shown="for forecasts the end of the training data",
    )
    row: int | None = option(
        None,
        "Which sequence or series of a file is read, from 1.",
        ge=1,
        shown="the first one",
    )
    explain: str | None = option(
        None,
        "The output that saliency explains: a label, a tag, the token that follows, a target; of "
        "speech its level or its end.",
        metavar="NAME",
        shown="the most probable; of speech its level",
    )
    step: int | None = option(
        None,
        "For which step it does, from 1: of the tokens that are tagged or written, of the "
        "horizon, or of the speech.",
        ge=1,
        shown="tags: the last; translations, transcripts and captions: all; forecasts: the first; "
        "speech: the loudest",
    )
    language: Language = option(
        "en", "The language of the report and of what is printed: English or Chinese."
    )
    output: Path = option(
        Path("inspection"),
        "The folder for report, pictures and numbers.",
        metavar="FOLDER",
        flags=("--output", "-o"),
    )
    overwrite: bool = option(
        False, "Replace what an earlier call wrote into the folder.", flags=("--overwrite",)
    )
