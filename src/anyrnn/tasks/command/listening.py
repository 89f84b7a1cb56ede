"""Words heard in a stream: what a network says at each step becomes words with their times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.command.model import CommandNetwork
from anyrnn.tasks.command.options import ListenOptions
from anyrnn.tasks.networks.layers import segments


class Stream:
    """What a network says at each step of a recording that comes in pieces.

    At each step the outputs of the last so many steps are pooled and classified, as those of a
    whole recording are; the state of the layers goes on all the time.

    Args:
        network: The network, in evaluation mode.
        window: Over how many steps outputs are pooled; fewer at the beginning.

    Raises:
        OptionError: The network reads backwards, or its features need the whole recording.
    """

    def __init__(self, network: CommandNetwork, window: int) -> None:
        if network.bidirectional:
            raise OptionError(
                "this network also reads backwards, from the end of a recording, which a stream "
                f"has not; train with {option_name('bidirectional', False)}"
            )
        self._network = network
        self._window = window
        self._frames = network.features.stream(network.segment_length)
        self._state: Any = None
        self._outputs = torch.empty(0, network.dense.in_features)

    def push(self, samples: torch.Tensor) -> torch.Tensor:
        """The probability of each word at each further step, (steps, words).

        Args:
            samples: (samples), at the rate of the network's features.
        """
        return self._read(self._frames.push(samples[None]))

    def finish(self) -> torch.Tensor:
        """Those at the steps that the end completes."""
        return self._read(self._frames.finish())

    def _read(self, frames: torch.Tensor) -> torch.Tensor:
        network, count = self._network, frames.shape[1]
        if not count:
            return torch.empty(0, network.dense.out_features)
        with torch.inference_mode():
            inputs, _ = segments(frames, torch.tensor([count]), network.segment_length)
            output, self._state = network.recurrent(inputs, self._state)
            return network.dense(self._pooled(output[0])).softmax(1)

    def _pooled(self, outputs: torch.Tensor) -> torch.Tensor:
        """The outputs of the window that ends at each step, pooled, (steps, hidden)."""
        before = len(self._outputs)
        every = torch.cat([self._outputs, outputs])
        self._outputs = every[max(0, len(every) - self._window + 1) :]
        pooled = []
        for end in range(before + 1, len(every) + 1):
            some = every[max(0, end - self._window) : end]
            pooled.append(some.mean(0) if self._network.pool == "mean" else some.amax(0))
        return torch.stack(pooled)


@dataclass(frozen=True)
class Heard:
    """A word that was heard.

    Attributes:
        seconds: When it was surest: the end of the window there.
        word: The word.
        probability: How sure it was then.
    """

    seconds: float
    word: str
    probability: float


@dataclass
class Listening:
    """Hears words in samples that come in pieces.

    A word is heard while it is the likeliest and its probability is the threshold or more; it is
    told when that ends, once, with the time and the probability where it was surest. For a while
    after that time no other word is told.

    Args:
        network: The network, in evaluation mode.
        words: The words in the order of its classes.
        silent: Those of them that are not told.
        options: Window, threshold, refractory time.
        seconds: The window, if the options have none.
    """

    network: CommandNetwork
    words: Sequence[str]
    silent: Sequence[str]
    options: ListenOptions
    seconds: float
    _step: int = field(default=0, init=False)
    _surest: Heard | None = field(default=None, init=False)
    _last: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        """Begin."""
        step = self.network.features.seconds(self.network.segment_length)
        self._seconds_of_step = step
        self._window = max(1, round((self.options.window or self.seconds) / step))
        self._stream = Stream(self.network, self._window)

    def push(self, samples: torch.Tensor) -> Iterator[Heard]:
        """The words that have ended with some more samples, (samples), at the run's rate."""
        return self._heard(self._stream.push(samples))

    def finish(self) -> Iterator[Heard]:
        """Those that the end ends."""
        yield from self._heard(self._stream.finish())
        if self._surest is not None:
            yield self._told(self._surest)

    def _heard(self, probabilities: torch.Tensor) -> Iterator[Heard]:
        for row in probabilities:
            self._step += 1
            word, probability = self.words[int(row.argmax())], float(row.max())
            now = self._step * self._seconds_of_step
            there = probability >= self.options.threshold and word not in self.silent
            # The outputs of half a window decide nothing.
            there = there and 2 * self._step >= self._window
            if self._surest is not None and not (there and word == self._surest.word):
                yield self._told(self._surest)
            there = there and now >= self._last + self.options.refractory
            if there and (self._surest is None or probability > self._surest.probability):
                self._surest = Heard(now, word, probability)

    def _told(self, surest: Heard) -> Heard:
        self._surest, self._last = None, surest.seconds
        return surest
