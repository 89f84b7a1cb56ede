"""Forecasts with scikit-learn's verbs."""

from dataclasses import dataclass
from typing import Any, Self

import pandas

from anyrnn.errors import DataError
from anyrnn.tasks.data.zone import Zone
from anyrnn.tasks.estimator import Estimator
from anyrnn.tasks.forecast.columns import Columns, frame_table, texts_of, with_index
from anyrnn.tasks.forecast.data import data_of
from anyrnn.tasks.forecast.task import Forecast

_COLUMNS = (
    "time",
    "target",
    "group",
    "past_covariates",
    "future_covariates",
    "frequency",
    "time_format",
    "decimal",
    "missing_value",
    "missing",
    "validation_size",
    "skip_bad",
)


class Forecaster(Estimator, task=Forecast, data=_COLUMNS):
    """The next values of one or many series, from a data frame to a data frame.

    The frame has a row for each time: columns `unique_id`, `ds`, `y`, or those that `group`, `time`
    and `target` name; levels of the index that have a name, or times, are columns, too. One of
    another library is converted by its own `to_pandas`. The end of each series is kept aside in
    `fit` and decides when to stop.

    Series and times are named as in the frame; by a loaded forecaster as text and without a zone.

    Example:
        >>> import numpy
        >>> import pandas
        >>> from anyrnn.tasks import Forecaster
        >>> days = pandas.date_range("2024-01-01", periods=120)
        >>> frame = pandas.DataFrame({"ds": days, "y": numpy.arange(120) % 7})
        >>> forecaster = Forecaster(horizon=3, cell="gru", hidden_size=8, epochs=2).fit(frame)
        >>> list(forecaster.predict()["ds"].astype(str))
        ['2024-04-30', '2024-05-01', '2024-05-02']
    """

    _own: Any = None
    """How the frame of `fit` names series and times."""

    def fit(self, X: pandas.DataFrame, y: None = None) -> Self:
        """Train on a frame.

        Args:
            X: The frame.
            y: Nothing; the targets are columns of the frame.

        Raises:
            DataError: The frame cannot be used.
        """
        options = self.options()
        X = _frame(X)
        self._fit(data_of(frame_table(X), options, test=False))
        self._own = _Names.of(X, self.model_.task.columns)
        return self

    def predict(self, X: pandas.DataFrame | None = None) -> pandas.DataFrame:
        """The steps after the end of each series.

        Args:
            X: A newer frame, with the rows of future covariates beyond its end; without one, the
                forecast is from the end of the frame that `fit` was given.

        Returns:
            Series, times and, for each target, its forecast and the ends of its intervals.
        """
        if X is None:
            names, frame = self._own, self._fitted.predict()
        else:
            X = _frame(X)
            frame = self._fitted.predict(X)
            names = _Names.of(X, self._fitted.task.columns)
        return frame if names is None else names.given_back(frame)

    def score(self, X: pandas.DataFrame, y: None = None) -> float:
        """The MASE of all windows of a frame, negative, so that a better one is larger."""
        task = self._fitted.task
        return -self._fitted.score(task.part_of(frame_table(_frame(X)))).figures["mase"]


@dataclass(frozen=True)
class _Names:
    """How a frame names series and times.

    Attributes:
        columns: Which columns these are.
        series: The names of series as they are there, by their text.
        zone: The zone of the times, if they have one.
    """

    columns: Columns
    series: pandas.Series | None
    zone: Zone | None

    @classmethod
    def of(cls, frame: Any, columns: Columns) -> "_Names":
        """Those of a frame."""
        series: Any = None
        if columns.group is not None:
            series = frame[columns.group].dropna().drop_duplicates()
            series.index = pandas.Index(texts_of(series))
            series = series[~series.index.duplicated()]
        return cls(columns, series, None if columns.time is None else Zone.of(frame[columns.time]))

    def given_back(self, frame: Any) -> pandas.DataFrame:
        """A forecast with these names."""
        if self.series is not None:
            group = self.columns.group
            frame[group] = self.series.reindex(frame[group]).array
        if self.zone is not None:
            frame[self.columns.time] = self.zone.given_back(frame[self.columns.time])
        return frame


def _frame(X: Any) -> pandas.DataFrame:
    if not isinstance(X, pandas.DataFrame):
        X = getattr(X, "to_pandas", lambda: X)()  # of another library
    if not isinstance(X, pandas.DataFrame):
        raise DataError(f"a {type(X).__name__} was given, but a data frame is needed")
    return with_index(X)
