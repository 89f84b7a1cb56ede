"""What can be chosen of the study of cells."""

from pathlib import Path

from anyrnn.studies.cells.settings import CELLS
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.option_checks import Need

_TRAINED = (Need("results", ((),)),)


class CellStudyOptions(OptionGroup, panel="Study"):
    """What is trained, and where it is written."""

    problem: tuple[str, ...] = option(
        (),
        "A problem of the study, or one in one length such as adding-30; may be repeated. Those of "
        "the sizes of Bai et al. 2018 are large-adding, large-copying and large-mnist.",
        metavar="NAME",
        shown="all but the large ones",
        distinct=True,
        needs=_TRAINED,
    )
    cells: tuple[str, ...] = option(
        CELLS,
        "A cell; may be repeated. The first one sets the number of parameters.",
        ge=1,
        metavar="NAME",
        flags=("--cell",),
        distinct=True,
        needs=_TRAINED,
    )
    seeds: int = option(
        5, "The number of trainings of each cell at its learning rate.", ge=1, needs=_TRAINED
    )
    share: float = option(
        1.0,
        "The share of the epochs that each training has, for a first look.",
        gt=0,
        le=1,
        needs=_TRAINED,
    )
    examples: Path = option(
        Path("examples"),
        "The folder of the examples of a clone of anyrnn, where the real data are.",
        metavar="FOLDER",
        needs=_TRAINED,
    )
    digits: Path | None = option(
        None,
        "MNIST as an .npz, for the problems mnist-rows, mnist-pixels and large-mnist.",
        metavar="FILE",
        shown="without them",
        needs=_TRAINED,
    )
    images: int | None = option(
        None,
        "How many of the training images of that file to read.",
        ge=100,
        shown="all",
        needs=(Need("digits", but=None),),
    )
    quick: bool = option(
        False,
        "Only try that everything works: an epoch of each training, small networks, few data.",
        flags=("--quick",),
        needs=_TRAINED,
    )
    budget: str | None = option(
        None,
        "The time for each problem in one length, such as 30m; trainings that are not done by then "
        "are not counted.",
        metavar="TIME",
        shown="no limit",
        needs=_TRAINED,
    )
    times: bool = option(
        False,
        "Also tell how long trainings took; for a machine on which nothing else runs.",
        flags=("--times",),
        needs=_TRAINED,
    )
    workers: int = option(1, "The number of processes that train.", ge=1, needs=_TRAINED)
    output: Path = option(
        Path("studies/cells"),
        "The folder of the study.",
        metavar="FOLDER",
        flags=("--output", "-o"),
        needs=_TRAINED,
    )
    resume: bool = option(
        False,
        "Go on with the study there, perhaps with more problems.",
        flags=("--resume",),
        needs=_TRAINED,
    )
    results: tuple[Path, ...] = option(
        (),
        "Train nothing: write the pages from the results of a study; may be repeated.",
        metavar="FILE",
        shown="train",
        distinct=True,
    )
    pages: Path | None = option(
        None,
        "The folder for the pages and their pictures.",
        metavar="FOLDER",
        shown="that of the study",
    )
