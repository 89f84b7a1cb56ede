"""Where the study of cells finds its data, and the files that it makes of images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy

from anyrnn.errors import DataError, option_name
from anyrnn.files import reading, writing

_QUICK_IMAGES = 200


@dataclass(frozen=True)
class Files:
    """Where the study finds data, and where it puts those that it makes.

    Attributes:
        examples: The folder `examples` of a clone of anyrnn.
        made: A folder for files that the study makes.
        digits: MNIST as an .npz, for the problems that need it.
        images: How many of its images are trained on; all without.
        quick: Whether everything is as small as can be.
        share: The share of the epochs that a training has.
    """

    examples: Path
    made: Path
    digits: Path | None = None
    images: int | None = None
    quick: bool = False
    share: float = 1.0

    def example(self, name: str) -> Path:
        """A file of the examples.

        Raises:
            DataError: It is not there.
        """
        path = self.examples / name
        if not path.exists():
            raise DataError(
                f"there is no file {path}: name the folder of the examples with "
                f"{option_name('examples')}, or problems without a file with "
                f"{option_name('problem')}"
            )
        return path


def digit_files(files: Files, by: str) -> dict[str, Any]:
    """The file of scikit-learn's digits, which is made: images as sequences of rows or pixels."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return {"data": _written(files, "digits", by, found.images, found.target)}


def mnist_files(files: Files, by: str) -> dict[str, Any]:
    """The files of MNIST, which are made: perhaps only some of the training images.

    Raises:
        DataError: The file cannot be read or holds something else.
    """
    path, names = files.digits, ("x_train", "y_train", "x_test", "y_test")
    assert path is not None
    try:
        with reading(path, DataError, "there is no file {}"), numpy.load(path) as found:
            arrays = {name: found[name] for name in names}
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path} has to be an .npz with the arrays {', '.join(names)}: {error}"
        ) from None
    training = (arrays[name][: files.images] for name in names[:2])
    test = (arrays[name] for name in names[2:])
    return {
        "data": _written(files, "mnist-training", by, *training),
        "test_data": _written(files, "mnist-test", by, *test),
    }


def _written(
    files: Files, name: str, by: str, images: numpy.ndarray, labels: numpy.ndarray
) -> Path:
    if files.quick:
        images, labels = images[:_QUICK_IMAGES], labels[:_QUICK_IMAGES]
    steps = images if by == "rows" else images.reshape(len(images), -1, 1)
    path = files.made / f"{name}-by-{by}.npz"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        numpy.savez_compressed(path, x=steps.astype(numpy.float32), y=labels)
    return path
