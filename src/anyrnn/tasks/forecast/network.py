"""The networks of forecasting: recurrent layers over steps or segments, direct or recursive."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from anyrnn.tasks.forecast.draws import uniform
from anyrnn.tasks.forecast.heads import Head, PointHead
from anyrnn.tasks.forecast.options import ModelOptions, segment_length
from anyrnn.tasks.networks.layers import recurrent_layers

_SMALLEST_DEVIATION = 1e-5


@dataclass(frozen=True)
class Sizes:
    """The sizes of what a network reads and says.

    Attributes:
        look_back, horizon: The steps.
        targets: The number of targets.
        features: The number of covariates before the origin.
        known: The number of those that are known after it, too; they are the last features.
        gaps: Whether the network is told which targets are missing.
    """

    look_back: int
    horizon: int
    targets: int
    features: int
    known: int
    gaps: bool


class ForecastNetwork(nn.Module):
    """A level is subtracted from the look-back, the rest is read, and the level is added again.

    Args:
        cell: A name of the catalogue, such as "gru".
        sizes: What is read and said.
        options: The form and its sizes.
        head: What is said of a value.

    Raises:
        UnknownCellError: There is no such cell.
    """

    widths: torch.Tensor | None

    def __init__(self, cell: str, sizes: Sizes, options: ModelOptions, head: Head) -> None:
        super().__init__()
        self.sizes = sizes
        self.head = head
        self.joint = options.channels == "joint"
        self.level = options.level
        width = sizes.targets if self.joint else 1
        channels = 1 if self.joint else sizes.targets
        core = Segments if options.form == "segments" else Direct
        if options.decoding == "recursive":
            core = Recursive
        self.core: nn.Module = core(Plan(cell, sizes, width, channels, options, head))
        # Half the widths of a point's intervals, once the validation part has told them.
        widths = None
        if isinstance(head, PointHead):
            widths = torch.zeros(sizes.horizon, sizes.targets, len(head.intervals))
        self.register_buffer("widths", widths)

    def forward(
        self,
        read: torch.Tensor,
        seen: torch.Tensor,
        features: torch.Tensor,
        known: torch.Tensor,
        draws: torch.Tensor,
        target: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the head says of each step of the horizon.

        Args:
            read: The targets before the origin, (batch, look-back, targets).
            seen: Which of them are observed.
            features: The covariates before it, (batch, look-back, features).
            known: Those known in advance, (batch, horizon, known).
            draws: What decides the draws of a recursive network; see `draws.keys`, (batch).
            target: The truth, which a recursive network reads while it is trained.

        Returns:
            (batch, horizon, targets, outputs).
        """
        level, deviation = self._level(read)
        read = (read - level) / deviation
        if target is not None:
            target = (target - level) / deviation
        count = read.shape[0]
        folded = [self._folded(each) for each in (read, seen.to(read.dtype))]
        features, known = (self._repeated(each) for each in (features, known))
        parts = [folded[0], *([folded[1]] if self.sizes.gaps else []), features]
        if isinstance(self.core, Recursive):
            truth = None if target is None else self._folded(target)
            raw = self.core(folded[0], features, known, draws, truth)
        else:
            raw = self.core(torch.cat(parts, -1), known)
        raw = raw.unflatten(-1, (-1, self.head.outputs))
        if not self.joint:
            raw = raw.unflatten(0, (count, -1)).squeeze(3).transpose(1, 2)
        found = self.head.finish(raw, level[..., None], deviation[..., None])
        if self.widths is None:
            return found
        return torch.cat([found, self.widths.to(found.dtype).expand(count, -1, -1, -1)], -1)

    def _level(self, read: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.level == "mean":
            deviation = read.std(1, keepdim=True, correction=0) + _SMALLEST_DEVIATION
            return read.mean(1, keepdim=True), deviation
        level = read[:, -1:] if self.level == "last" else torch.zeros_like(read[:, -1:])
        return level, torch.ones_like(level)

    def _folded(self, values: torch.Tensor) -> torch.Tensor:
        """(batch, time, targets) as (batch x targets, time, 1), unless they are joint."""
        return values if self.joint else values.transpose(1, 2).flatten(0, 1)[..., None]

    def _repeated(self, values: torch.Tensor) -> torch.Tensor:
        """The same covariates for each target."""
        if self.joint or self.sizes.targets == 1:
            return values
        return values.repeat_interleave(self.sizes.targets, 0)


@dataclass(frozen=True)
class Plan:
    """What a part of a network is made from.

    Attributes:
        cell: A name of the catalogue.
        sizes: What the network reads and says.
        width: How many targets are read together.
        channels: How many are told apart.
        options: The form and its sizes.
        head: What is said of a value.
    """

    cell: str
    sizes: Sizes
    width: int
    channels: int
    options: ModelOptions
    head: Head

    @property
    def inputs(self) -> int:
        """The number of values of a step of the look-back."""
        return self.width * (2 if self.sizes.gaps else 1) + self.sizes.features

    @property
    def outputs(self) -> int:
        """The number of values that are said of a step of the horizon."""
        return self.width * self.head.outputs


class _Layers(nn.Module):
    """Recurrent layers, and a vector that says which of several targets is read."""

    def __init__(self, plan: Plan, inputs: int) -> None:
        super().__init__()
        options, channels = plan.options, plan.channels
        self.horizon = plan.sizes.horizon
        self.recurrent = recurrent_layers(
            plan.cell, inputs, options.hidden_size, options.layers, options.dropout
        )
        self.dropout = nn.Dropout(options.dropout)
        self.size = self.recurrent.output_size
        self.channel = nn.Parameter(torch.zeros(channels, self.size)) if channels > 1 else None

    def marked(self, vectors: torch.Tensor, paths: int = 1) -> torch.Tensor:
        """Vectors, the last axis of which is that of outputs, with the vector of their target.

        Args:
            vectors: The vectors.
            paths: How many vectors stand for each row.
        """
        if self.channel is None:
            return vectors
        channel = self.channel.repeat_interleave(paths, 0)
        channel = channel.repeat(len(vectors) // len(channel), 1)
        return vectors + channel.view(len(vectors), *[1] * (vectors.ndim - 2), self.size)


class Direct(_Layers):
    """The last output gives all steps of the horizon; what is known in advance is added to each."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, plan.inputs)
        known, hidden = plan.sizes.known, plan.options.hidden_size
        self.dense = nn.Linear(self.size, self.horizon * plan.outputs)
        self.known = None
        if known:
            self.known = nn.Sequential(
                nn.Linear(self.size + known, hidden),
                nn.ReLU(),
                nn.Linear(hidden, plan.outputs),
            )
        _start_at_nothing(self.dense)

    def forward(self, read: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """(rows, horizon, width x outputs)."""
        output, _ = self.recurrent(read)
        context = self.dropout(self.marked(output[:, -1]))
        raw = self.dense(context).unflatten(1, (self.horizon, -1))
        if self.known is None:
            return raw
        contexts = context[:, None].expand(-1, self.horizon, -1)
        return raw + self.known(torch.cat([contexts, known], -1))


class Segments(_Layers):
    """One step of the layers reads a segment; each segment of the horizon is one step after them.

    S. Lin et al., "SegRNN: Segment Recurrent Neural Network for Long-Term Time Series Forecasting",
    2023: parallel multi-step forecasting.
    """

    def __init__(self, plan: Plan) -> None:
        hidden, known, channels = plan.options.hidden_size, plan.sizes.known, plan.channels
        super().__init__(plan, hidden)
        self.length = segment_length(plan.sizes.look_back, plan.options)
        self.segments = -(-self.horizon // self.length)
        self.project = nn.Linear(self.length * plan.inputs, hidden)
        half = hidden // 2 if channels > 1 else hidden
        self.position = nn.Parameter(torch.randn(self.segments, half))
        self.which = nn.Parameter(torch.randn(channels, hidden - half)) if channels > 1 else None
        self.channel = None
        self.known = nn.Linear(self.length * known, hidden) if known else None
        self.dense = nn.Linear(self.size, self.length * plan.outputs)

    def forward(self, read: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """(rows, horizon, width x outputs)."""
        rows = len(read)
        segments = read.reshape(rows, -1, self.length * read.shape[-1])
        _, state = self.recurrent(self.project(segments).relu())
        state = pytree.tree_map(lambda each: each.repeat_interleave(self.segments, 1), state)
        queries = self._queries(rows, known).flatten(0, 1)[:, None]
        output, _ = self.recurrent(queries, state)
        raw = self.dense(self.dropout(output[:, 0]))
        return raw.view(rows, self.segments * self.length, -1)[:, : self.horizon]

    def _queries(self, rows: int, known: torch.Tensor) -> torch.Tensor:
        """What says which segment of which target is asked for, (rows, segments, hidden)."""
        queries = self.position.expand(rows, -1, -1)
        if self.which is not None:
            which = self.which.repeat(rows // len(self.which), 1)[:, None]
            queries = torch.cat([which.expand(-1, self.segments, -1), queries], -1)
        if self.known is None:
            return queries
        missing = self.segments * self.length - self.horizon
        known = nn.functional.pad(known, (0, 0, 0, missing))
        return queries + self.known(known.reshape(rows, self.segments, -1))


class Recursive(_Layers):
    """Each step is read before the next one is forecast: in training the true one, later our own.

    Of a distribution, paths are drawn; the forecast is the mixture of what follows each of them.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, plan.width + plan.sizes.known)
        self.head = plan.head
        self.dense = nn.Linear(self.size, plan.outputs)
        _start_at_nothing(self.dense)

    def forward(
        self,
        read: torch.Tensor,
        features: torch.Tensor,
        known: torch.Tensor,
        draws: torch.Tensor,
        target: torch.Tensor | None,
    ) -> torch.Tensor:
        """(rows, horizon, width x outputs).

        Args:
            read: The targets before the origin, (rows, look-back, width).
            features: The covariates before it; each is known in advance.
            known: The covariates after it.
            draws: What decides the draws, (batch).
            target: The truth, if it is to be read.
        """
        # With a value comes what is known of the next step, which it helps to forecast.
        known = torch.cat([features[:, 1:], known], 1)
        if target is not None:
            values = torch.cat([read, target[:, :-1]], 1)
            output, _ = self.recurrent(torch.cat([values, known], -1))
            output = output[:, -self.horizon :]
            return self.dense(self.dropout(self.marked(output)))
        begin = read.shape[1]
        output, state = self.recurrent(torch.cat([read, known[:, :begin]], -1))
        return self._continued(output[:, -1], state, known[:, begin:], draws)

    def _continued(
        self, output: torch.Tensor, state: Any, known: torch.Tensor, draws: torch.Tensor
    ) -> torch.Tensor:
        rows, paths = len(output), self.head.paths
        keys = draws.cpu().numpy()
        raw = self.dense(self.marked(output)).repeat_interleave(paths, 0)
        state = pytree.tree_map(lambda each: each.repeat_interleave(paths, 1), state)
        known = known.repeat_interleave(paths, 0)
        steps = []
        for step in range(self.horizon):
            raw = raw.unflatten(-1, (-1, self.head.outputs))
            parts = raw.unflatten(0, (rows, paths)).movedim(1, 0)
            steps.append(self.head.mixed(parts).flatten(1))
            if step + 1 < self.horizon:
                count = raw[..., 0].numel() // len(keys)
                drawn = torch.from_numpy(uniform(keys, step, count)).float()
                probability = drawn.to(raw.device).view(raw.shape[:-1])
                value = self.head.drawn(raw.float(), probability)
                inputs = torch.cat([value, known[:, step]], -1)[:, None]
                output, state = self.recurrent(inputs, state)
                raw = self.dense(self.marked(output[:, 0], paths))
        return torch.stack(steps, 1)


def _start_at_nothing(dense: nn.Linear) -> None:
    """Begin with a forecast of the level itself, such as the last value."""
    nn.init.zeros_(dense.weight)
    nn.init.zeros_(dense.bias)
