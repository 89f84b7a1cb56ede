"""Figures: what says how good a network is; and how times are written."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A number that says how good a network is.

    Attributes:
        name: Its name in results, such as "macro_f1".
        title: What people call it, such as "macro F1".
        percent: Whether it is a share, shown in per cent.
        larger_is_better: Whether a better network has a larger one.
        of_loss: How it follows from the mean loss, if it does; otherwise `Task.metrics` has it.
        once: Whether only the result has it, because it takes long, unless it decides: then
            `Task.metrics` has not.
        digits: How many digits are shown after the point; by default one of a share, else three.
    """

    name: str
    title: str
    percent: bool = False
    larger_is_better: bool = True
    of_loss: Callable[[float], float] | None = None
    once: bool = False
    digits: int | None = None

    def shown(self, value: float, digits: int | None = None) -> str:
        """The value as people read it, without the sign of per cent; of a small one as many digits
        count.

        Example:
            >>> Figure("accuracy", "accuracy", percent=True).shown(0.9876)
            '98.8'
            >>> LOSS.shown(1.25), LOSS.shown(0.0123), LOSS.shown(0.0000456)
            ('1.250', '0.0123', '0.0000456')
        """
        if digits is None:
            digits = (1 if self.percent else 3) if self.digits is None else self.digits
        if not self.percent and abs(value) >= 10_000:
            return f"{value:,.0f}"
        if not self.percent and self.digits is None and 0 < abs(value) < 0.1:
            digits = min(8, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{100 * value if self.percent else value:.{digits}f}"

    def of_trials(self, values: Sequence[float]) -> str:
        """The mean of trials as people read it, with the deviation if there are several.

        Example:
            >>> Figure("accuracy", "accuracy", percent=True).of_trials([0.9, 0.92])
            '91.0 ± 1.4'
        """
        mean = self.shown(fmean(values))
        return f"{mean} ± {self.shown(stdev(values))}" if len(values) > 1 else mean

    def plain(self) -> dict[str, Any]:
        """What is shown of it, as JSON knows it."""
        return {"name": self.name, "title": self.title, "percent": self.percent}

    @property
    def heading(self) -> str:
        """The title, with the unit."""
        return f"{self.title} %" if self.percent else self.title


def perplexity(loss: float) -> float:
    """Among how many tokens a model with this loss, in nats, chooses, so to speak."""
    return math.exp(loss) if loss < _LARGEST_EXPONENT else math.inf


_LARGEST_EXPONENT = 700


LOSS = Figure("loss", "loss", larger_is_better=False, of_loss=float)


PERPLEXITY = Figure("perplexity", "perplexity", larger_is_better=False, of_loss=perplexity)


def duration(seconds: float) -> str:
    """A time in words for people.

    Example:
        >>> duration(4.24), duration(75), duration(3700)
        ('4.2 s', '1 min 15 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def short_duration(seconds: float) -> str:
    """A time far below a second.

    Example:
        >>> short_duration(0.00042), short_duration(0.0123)
        ('0.42 ms', '12.3 ms')
    """
    milliseconds = 1000 * seconds
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.1f} ms"
