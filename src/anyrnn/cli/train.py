"""`anyrnn train TASK`: train models on the user's own files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from anyrnn.cli.terminal import say, say_table, terminal

if TYPE_CHECKING:
    from anyrnn.tasks.classify import ClassificationListener, Result
    from anyrnn.tasks.training import Epoch

app = typer.Typer(
    help="Train models on your own files.", no_args_is_help=True, rich_markup_mode="rich"
)

_DATA = "Data"
_TEXT = "Texts and tokens"
_MODEL = "Model"
_TRAINING = "Training"
_RUN = "Run folder"


@app.callback()
def _train() -> None:
    """Train models on your own files."""


@app.command()
def classify(
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_DATA,
            help="Texts with labels: CSV, TSV, JSON lines (also .gz, .xz, .bz2) or parquet.",
        ),
    ],
    text: Annotated[
        str, typer.Option(metavar="COLUMN", rich_help_panel=_DATA, help="The column of the texts.")
    ],
    label: Annotated[
        str, typer.Option(metavar="COLUMN", rich_help_panel=_DATA, help="The column of the labels.")
    ],
    cell: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_MODEL,
            help="The recurrent cell; repeat it to compare several. See [bold]anyrnn cells[/bold].",
            show_default="lstm",
        ),
    ] = None,
    validation_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_DATA,
            help="Texts that decide when to stop.",
            show_default="a tenth of --data",
        ),
    ] = None,
    test_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_DATA,
            help="Held-out texts that measure the result.",
            show_default="a tenth of --data",
        ),
    ] = None,
    encoding: Annotated[
        str, typer.Option(metavar="NAME", rich_help_panel=_DATA, help="The files' encoding.")
    ] = "utf-8",
    separator: Annotated[
        str | None,
        typer.Option(
            metavar="CHARACTER",
            rich_help_panel=_DATA,
            help="What separates the columns.",
            show_default="comma in .csv, tab in .tsv",
        ),
    ] = None,
    header: Annotated[
        bool,
        typer.Option(
            rich_help_panel=_DATA,
            help="The first line names the columns; if not, they are called 1, 2, ...",
        ),
    ] = True,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            rich_help_panel=_DATA,
            help="Leave out rows without text or label, and labels too rare to split.",
        ),
    ] = False,
    tokens: Annotated[
        Literal["auto", "word", "character", "bpe"],
        typer.Option(
            rich_help_panel=_TEXT,
            help="What the model reads; auto looks at the texts.",
        ),
    ] = "auto",
    lowercase: Annotated[
        bool, typer.Option(rich_help_panel=_TEXT, help="Make capitals small.")
    ] = True,
    vocabulary_size: Annotated[
        int, typer.Option(rich_help_panel=_TEXT, help="The largest number of different tokens.")
    ] = 30_000,
    min_frequency: Annotated[
        int,
        typer.Option(rich_help_panel=_TEXT, help="How often a token has to occur to be known."),
    ] = 2,
    max_length: Annotated[
        int, typer.Option(rich_help_panel=_TEXT, help="The number of tokens kept of a text.")
    ] = 400,
    keep: Annotated[
        Literal["start", "end"],
        typer.Option(rich_help_panel=_TEXT, help="Which end of a longer text is kept."),
    ] = "end",
    embedding_size: Annotated[
        int, typer.Option(rich_help_panel=_MODEL, help="The size of a token's vector.")
    ] = 128,
    hidden_size: Annotated[
        int, typer.Option(rich_help_panel=_MODEL, help="The size of a recurrent layer.")
    ] = 128,
    layers: Annotated[
        int, typer.Option(rich_help_panel=_MODEL, help="The number of recurrent layers.")
    ] = 1,
    bidirectional: Annotated[
        bool,
        typer.Option("--bidirectional", rich_help_panel=_MODEL, help="Also read backwards."),
    ] = False,
    pool: Annotated[
        Literal["last", "mean", "max"],
        typer.Option(
            rich_help_panel=_MODEL,
            help="What of the outputs over time is classified.",
        ),
    ] = "last",
    dropout: Annotated[
        float, typer.Option(rich_help_panel=_MODEL, help="The share of values dropped in training.")
    ] = 0.5,
    epochs: Annotated[
        int, typer.Option(rich_help_panel=_TRAINING, help="The largest number of passes.")
    ] = 20,
    patience: Annotated[
        int,
        typer.Option(
            rich_help_panel=_TRAINING, help="Stop after so many epochs without improvement."
        ),
    ] = 5,
    batch_size: Annotated[
        int, typer.Option(rich_help_panel=_TRAINING, help="The number of texts in a batch.")
    ] = 64,
    learning_rate: Annotated[
        float, typer.Option(rich_help_panel=_TRAINING, help="The step size of Adam.")
    ] = 1e-3,
    weight_decay: Annotated[
        float, typer.Option(rich_help_panel=_TRAINING, help="The weight decay (AdamW).")
    ] = 0.0,
    clip: Annotated[
        float,
        typer.Option(rich_help_panel=_TRAINING, help="The largest gradient norm; 0 for no limit."),
    ] = 1.0,
    seed: Annotated[
        int,
        typer.Option(rich_help_panel=_TRAINING, help="Decides split, weights, order and dropout."),
    ] = 0,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(rich_help_panel=_TRAINING, help="Where to compute."),
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="RUN",
            rich_help_panel=_RUN,
            help="The run folder to write.",
            show_default="runs/ and the name of --data",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=_RUN, help="Replace a run there.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", rich_help_panel=_RUN, help="Go on with an interrupted training."),
    ] = False,
) -> None:
    """Train text classifiers and compare them.

    [bold]Example:[/bold] anyrnn train classify --data reviews.csv --text review --label sentiment
    --cell lstm --cell gru

    Writes a run folder: models (safetensors), config.json, tokenizer.json, history.csv,
    results.json and report.html.
    """
    from anyrnn.tasks.classify import DataOptions, ModelOptions, Options, TrainingOptions, train

    options = Options(
        data=DataOptions(
            data=data,
            text=text,
            label=label,
            validation_data=validation_data,
            test_data=test_data,
            encoding=encoding,
            separator=separator,
            header=header,
            skip_bad=skip_bad,
        ),
        cells=tuple(dict.fromkeys(cell or ["lstm"])),
        tokens=tokens,
        lowercase=lowercase,
        vocabulary_size=vocabulary_size,
        minimum_frequency=min_frequency,
        maximum_length=max_length,
        keep=keep,
        model=ModelOptions(
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            layers=layers,
            bidirectional=bidirectional,
            dropout=dropout,
            pool=pool,
        ),
        training=TrainingOptions(
            epochs=epochs,
            patience=patience,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clip=clip,
            seed=seed,
            device=device,
        ),
    )
    output = output or Path("runs") / data.name.split(".")[0]
    console = terminal()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        result = train(
            options,
            output,
            overwrite=overwrite,
            resume=resume,
            listener=_listener(progress),
        )
    _print_result(result)


def _listener(progress: Progress) -> ClassificationListener:
    """What prints a line for each epoch and, on a terminal, moves a bar within it."""
    from anyrnn.tasks.classify import ClassificationListener

    class Printer(ClassificationListener):
        cell = ""
        bar: TaskID | None = None

        def noted(self, text: str) -> None:
            say(text, "dim", console=progress.console)

        def cell_started(self, cell: str, number: int, total: int) -> None:
            self.cell = cell
            self.bar = progress.add_task(f"{cell} ({number} of {total})", total=None)

        def batch_done(self, epoch: int, done: int, total: int) -> None:
            assert self.bar is not None
            progress.update(
                self.bar, description=f"{self.cell} epoch {epoch}", completed=done, total=total
            )

        def epoch_done(self, epoch: Epoch) -> None:
            figures = epoch.figures
            say(
                f"{self.cell} epoch {epoch.number}: training loss {figures['training_loss']:.3f}, "
                f"validation loss {figures['validation_loss']:.3f}, "
                f"accuracy {figures['validation_accuracy']:.1%}, "
                f"macro F1 {figures['validation_macro_f1']:.1%}, {epoch.seconds:.1f} s",
                console=progress.console,
            )

        def cell_done(self, cell: str) -> None:
            assert self.bar is not None
            progress.remove_task(self.bar)

    return Printer()


def _print_result(result: Result) -> None:
    from anyrnn.tasks.report import duration, short_duration

    several = len(result.cells) > 1
    rows = []
    for cell in result.cells:
        best = cell.cell == result.best.cell and several
        rows.append(
            (
                f"{cell.cell} *" if best else cell.cell,
                f"{cell.parameters:,}",
                f"{100 * cell.scores.accuracy:.1f}",
                f"{100 * cell.scores.macro_f1:.1f}",
                duration(cell.training_seconds),
                short_duration(cell.seconds_per_text),
            )
        )
    columns = ("parameters", "accuracy %", "macro F1 %", "training", "per text")
    say_table(
        ("cell", *columns),
        rows,
        right=columns,
        box=SIMPLE,
        title="On the test texts",
        caption="* best on the validation texts" if several else "",
    )
    say(f"run folder: {result.run}")
    say(f"report: {result.run / 'report.html'}")
