"""The tasks with scikit-learn's verbs: `fit`, `predict`, `score`, `save` and `load`."""

import inspect
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from anyrnn.errors import AnyrnnError, DataError, OptionError
from anyrnn.tasks.data.given import as_list
from anyrnn.tasks.data.parts import Data, P, divided_at_random
from anyrnn.tasks.decoding.written_vocabulary import Candidate
from anyrnn.tasks.experiment import train
from anyrnn.tasks.options.declaration import declared, flat, from_flat
from anyrnn.tasks.run_files import CONFIG, read_json, write_bytes
from anyrnn.tasks.run_folder import UnfinishedRun
from anyrnn.tasks.task import Task
from anyrnn.tasks.trained import Model, load

# What only makes sense for several networks, or for a training that people watch.
_LEFT_OUT = ("cells", "seeds", "nodes", "node_rank", "rendezvous", "tensorboard")


def listed_texts(texts: Iterable[str]) -> list[str]:
    """Texts as a list.

    Raises:
        DataError: They are one text, or not all of them are texts.
    """
    found = as_list(texts, "text")
    for number, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(f"row {number} is {text!r}, but has to be a text")
    return found


def check_pairs(units: str, inputs: Sequence[Any], others: str, targets: Sequence[Any]) -> None:
    """Refuse inputs and targets that are not as many, or none.

    Args:
        units: What inputs are called.
        inputs: The inputs.
        others: What targets are called.
        targets: The targets.

    Raises:
        DataError: They are.
    """
    if len(inputs) != len(targets):
        raise DataError(f"{len(inputs):,} {units}, but {len(targets):,} {others}")
    if not len(inputs):
        raise DataError(f"there is no {units[:-1]}")


def _own_name(option: str) -> str:
    """What an estimator calls an option."""
    name = option.rpartition(".")[2]
    return "cell" if name == "cells" else name


class Estimator(BaseEstimator):
    """A task as an estimator of scikit-learn; a subclass names its task.

    Its parameters are the options of the task, by their own names, but for those on files;
    `cell` stands for the list of cells. They are checked when `fit` is called.

    Attributes:
        place: What messages call the data, which come from no file.
        files: Values of options on files that have to be given.
        model_: The trained network with what it needs to predict.
        history_: The figures of each epoch; only `fit` makes it.
    """

    task: ClassVar[type[Task]]
    place: ClassVar = Path("the data")
    files: ClassVar[dict[str, Any]] = {"data": place}
    model_: Model
    history_: list[dict[str, float]]

    def __init_subclass__(
        cls,
        task: type[Task] | None = None,
        data: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
        **keywords: Any,
    ) -> None:
        """Make the constructor from the options.

        Args:
            task: The task.
            data: Those options on data that are parameters, too.
            without: Options, and groups of them, that say nothing about such data, by their paths.
            keywords: For other bases.
        """
        super().__init_subclass__(**keywords)
        if task is None:
            return
        cls.task = task
        defaults: dict[str, Any] = {"cell": "lstm"}
        for option in declared(task.options_type):
            group = option.path.partition(".")[0]
            left_out = group == "data" or option.name in _LEFT_OUT
            left_out = left_out or group in without or option.path in without
            if option.name in data or not left_out:
                default = option.declaration.default
                defaults[option.name] = None if default is ... else default

        def __init__(self: Estimator, **parameters: Any) -> None:  # noqa: N807
            for name in parameters:
                if name not in defaults:
                    raise TypeError(f"{cls.__name__} has no parameter {name!r}")
            for name, default in defaults.items():
                setattr(self, name, parameters.get(name, default))

        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        parameters += [
            inspect.Parameter(name, kind, default=default) for name, default in defaults.items()
        ]
        signature: Any = __init__
        signature.__signature__ = inspect.Signature(parameters)
        cls.__init__ = __init__

    @property
    def _fitted(self) -> Model:
        """The trained network.

        Raises:
            NotFittedError: There is none yet.
        """
        check_is_fitted(self, "model_")
        return self.model_

    def options(self) -> Any:
        """The options of the task as the parameters say.

        Raises:
            SizeError, OptionError: A parameter is not as it has to be; the message names it.
        """
        values = self.get_params(deep=False)
        cell = values.pop("cell")
        given = {name: value for name, value in values.items() if value is not None}
        try:
            return from_flat(self.task.options_type, {**given, **self.files, "cells": (cell,)})
        except AnyrnnError as error:
            raise error.renamed(_own_name) from None

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the run folder, as the command line would: `load` and `anyrnn predict` read it.

        Args:
            path: The folder to write.
            overwrite: Replace a run that exists there.

        Raises:
            RunError: The folder exists or cannot be written.
        """
        _ = self._fitted
        files = dict(self._files)
        config = files.pop(CONFIG)
        with UnfinishedRun(Path(path), overwrite=overwrite, resume=False) as unfinished:
            unfinished.open({}, files)
            for name, content in files.items():
                write_bytes(unfinished.path / name, content)
            unfinished.finish(config)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The estimator that a run folder holds, whether `save` or the command line wrote it.

        Raises:
            RunError: The folder is missing, damaged, or of another task.
        """
        model = load(path, kind=cls.task)
        known = inspect.signature(cls).parameters
        values = {name: value for name, value in flat(model.task.options).items() if name in known}
        found = cls(cell=model.cell, **values)
        found._keep(model, Path(path))
        return found

    def _divided(self, part: P) -> Data[P]:
        """A part in memory, of which the share for validation is split off."""
        options: Any = self.options()
        shares = options.data.shares(("test",))
        return Data.of(divided_at_random(part, shares, options.training.seed))

    def _fit(self, data: Data) -> Self:
        """Train on data in memory."""
        options = self.options()
        with tempfile.TemporaryDirectory() as folder:
            result = train(options, Path(folder) / "run", data=data)
            self._keep(load(result.run), result.run)
        self.history_ = [dict(epoch.figures) for epoch in result.best.best_trial.epochs]
        return self

    def _keep(self, model: Model, run: Path) -> None:
        self.model_ = model
        config = read_json(run / CONFIG)
        self._files: dict[str, Any] = {
            name: (run / name).read_bytes() for name in config["files"] if name != CONFIG
        }
        self._files[CONFIG] = config


class FromList(Estimator):
    """A task that reads a list of texts, of names of files or of arrays, which have a target."""

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn asks: no array of features is read."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags


class WritesTexts(Estimator):
    """A task that writes texts: of each input several can be had, found by a search."""

    @abstractmethod
    def _listed(self, X: Iterable[Any]) -> list[Any]:
        """The inputs as a list; what is none is refused with a `DataError`."""

    def predict(self, X: Iterable[Any], **search: Any) -> list[str]:
        """The best text of each input; of an empty one it is empty.

        Args:
            X: The inputs, as in `fit`.
            search: How the texts are searched for: beam, length_penalty, ...; see `SearchOptions`.

        Raises:
            OptionError: `n_best` is given; it belongs to `candidates`.
        """
        if "n_best" in search:
            raise OptionError("predict gives the best text only: n_best is for candidates(X)")
        return [found[0].text for found in self.candidates(X, **search)]

    def candidates(self, X: Iterable[Any], **search: Any) -> list[list[Candidate]]:
        """The `n_best` texts of each input with their scores, the best one first.

        Args:
            X: The inputs, as in `fit`.
            search: How the texts are searched for: n_best, beam, length_penalty, ...; see
                `SearchOptions`.
        """
        found = self._fitted.predict(self._listed(X), **search)
        return [each.candidates for each in found]
