"""Forecasts with scikit-learn's verbs."""

from typing import Any, Self

import pandas
from sklearn.utils.validation import check_is_fitted

from anyrnn.errors import DataError
from anyrnn.tasks.estimator import Estimator
from anyrnn.tasks.forecast.columns import frame_table, with_index
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
    "missing_value",
    "missing",
    "validation_size",
    "skip_bad",
)


class Forecaster(Estimator, task=Forecast, data=_COLUMNS):
    """The next values of one or many series, from a data frame to a data frame.

    The frame has a row for each time: columns `unique_id`, `ds`, `y`, or those that `group`, `time`
    and `target` name; levels of the index that have a name, or times, are columns, too. The end of
    each series is kept aside in `fit` and decides when to stop.

    A loaded forecaster names series by text.

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

    _names: Any = None
    """The type of the names of series, if it is known."""

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
        group = self.model_.task.columns.group
        self._names = None if group is None else X[group].dtype
        return self

    def predict(self, X: pandas.DataFrame | None = None) -> pandas.DataFrame:
        """The steps after the end of each series.

        Args:
            X: A newer frame, with the rows of future covariates beyond its end; without one, the
                forecast is from the end of the frame that `fit` was given.

        Returns:
            Series, times and, for each target, its forecast and the ends of its intervals.
        """
        check_is_fitted(self, "model_")
        X = None if X is None else _frame(X)
        frame = self.model_.predict(X)
        group = self.model_.task.columns.group
        names = self._names if X is None or group is None else X[group].dtype
        return frame if group is None or names is None else frame.astype({group: names})

    def score(self, X: pandas.DataFrame, y: None = None) -> float:
        """The MASE of all windows of a frame, negative, so that a better one is larger."""
        check_is_fitted(self, "model_")
        task = self.model_.task
        return -self.model_.score(task.part_of(frame_table(_frame(X)))).figures["mase"]


def _frame(X: Any) -> pandas.DataFrame:
    if not isinstance(X, pandas.DataFrame):
        raise DataError(f"a {type(X).__name__} was given, but a data frame is needed")
    return with_index(X)
