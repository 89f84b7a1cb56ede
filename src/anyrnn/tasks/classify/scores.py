"""How well probabilities agree with the true classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from anyrnn.tasks.scores.class_scores import ClassScore, confusion_of, label_scores, scores_of
from anyrnn.tasks.task import Scores

_WORST = 25


@dataclass(frozen=True)
class Example:
    """What is shown of an input.

    Attributes:
        text: The text, or where a sequence of numbers comes from.
        curve: The values of each channel of a sequence, if it is one.
        picture: The address of a picture, which holds the picture itself; "" if there is none.
    """

    text: str
    curve: list[list[float]] | None = None
    picture: str = ""


@dataclass(frozen=True)
class Answer(Example):
    """An input with the label that it was given.

    Attributes:
        label: Its true label, or labels.
        label_probability: What the model gave it, or them together.
        predicted: What it was given.
        predicted_probability: With which probability.
    """

    label: str = ""
    label_probability: float = 0.0
    predicted: str = ""
    predicted_probability: float = 0.0


@dataclass(frozen=True)
class ClassificationScores(Scores):
    """The figures of one classifier on one set of inputs: accuracy, F1, loss (in nats).

    Attributes:
        classes: The figures of each class.
        confusion: How many inputs of each true class (row) were given each class (column); empty
            if an input may have several.
        mistakes: The inputs that it got most wrong, the worst first.
    """

    classes: list[ClassScore]
    confusion: list[list[int]]
    mistakes: list[Answer]


def score(
    probabilities: torch.Tensor,
    targets: torch.Tensor,
    labels: Sequence[str],
    metrics: Mapping[str, Callable[..., torch.Tensor]],
    example: Callable[[int], Example],
    weights: torch.Tensor | None = None,
    separator: str = ", ",
) -> ClassificationScores:
    """Compare probabilities with the truth.

    Args:
        probabilities: A row for each input, a column for each class.
        targets: The class number of each input, or a column for each class where it may have
            several.
        labels: The labels, in the order of the classes.
        metrics: What computes the figures, but for the loss.
        example: What is shown of the input of a row.
        weights: The weight of each class in the loss.
        separator: What stands between several labels.

    Example:
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
        >>> texts = [Example("a"), Example("b"), Example("c")]
        >>> scores = score(
        ...     probabilities, torch.tensor([0, 0, 1]), ["no", "yes"], {}, texts.__getitem__
        ... )
        >>> round(scores.figures["loss"], 3)
        0.415
    """
    figures = {name: metric(probabilities, targets.long()) for name, metric in metrics.items()}
    figures["loss"] = losses(probabilities, targets, weights).mean()
    confusion: list[list[int]] = []
    if targets.ndim > 1:
        classes = label_scores(probabilities, targets.long(), labels)
    else:
        counts = confusion_of(probabilities.argmax(1), targets, len(labels))
        classes, confusion = scores_of(counts, labels), counts.tolist()
    return ClassificationScores(
        count=len(targets),
        figures={name: float(figure) for name, figure in figures.items()},
        classes=classes,
        confusion=confusion,
        mistakes=worst_mistakes(example, probabilities, targets, labels, separator),
        baselines={"majority": {"accuracy": _most_frequent(targets)}},
    )


def chosen(
    probabilities: torch.Tensor, labels: Sequence[str], several: bool, separator: str
) -> tuple[str, float]:
    """The answer for an input, and its probability.

    Args:
        probabilities: The probability of each class.
        labels: The labels, in the order of the classes.
        several: Whether an input may have several, each with a probability above one half.
        separator: What stands between several labels.
    """
    if not several:
        number = int(probabilities.argmax())
        return labels[number], float(probabilities[number])
    given = probabilities > 0.5
    names = [label for label, one in zip(labels, given.tolist(), strict=True) if one]
    return separator.join(names), float(_of_answer(probabilities[None], given[None].float()))


def worst_mistakes(
    example: Callable[[int], Example],
    probabilities: torch.Tensor,
    targets: torch.Tensor,
    labels: Sequence[str],
    separator: str = ", ",
) -> list[Answer]:
    """The wrongly labelled inputs whose true answer had the smallest probability, each text once.

    Args:
        example: What is shown of the input of a row.
        probabilities: A row for each input, a column for each class.
        targets: See `score`.
        labels: The labels, in the order of the classes.
        separator: What stands between several labels.
    """
    mistakes: list[Answer] = []
    seen: set[str] = set()
    several = targets.ndim > 1
    of_truth = _of_answer(probabilities, targets)
    for row in map(int, of_truth.argsort(stable=True)):
        true = targets[row] if several else torch.nn.functional.one_hot(targets[row], len(labels))
        label = separator.join([name for name, one in zip(labels, true, strict=True) if one])
        predicted, probability = chosen(probabilities[row], labels, several, separator)
        if predicted == label or (shown := example(row)).text in seen:
            continue
        seen.add(shown.text)
        mistakes.append(
            Answer(
                **vars(shown),
                label=label,
                label_probability=float(of_truth[row]),
                predicted=predicted,
                predicted_probability=probability,
            )
        )
        if len(mistakes) == _WORST:
            break
    return mistakes


def losses(
    probabilities: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """The cross-entropy of each input, in nats; where it may have several labels, their mean."""
    smallest = torch.finfo(probabilities.dtype).tiny
    if targets.ndim == 1:
        found = -probabilities.gather(1, targets[:, None])[:, 0].clamp_min(smallest).log()
        return found if weights is None else found * weights[targets]
    present = -probabilities.clamp_min(smallest).log()
    absent = -(1 - probabilities).clamp_min(smallest).log()
    present = present if weights is None else present * weights
    return torch.where(targets > 0, present, absent).mean(1)


def _of_answer(probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The probability of the answer in each row."""
    if targets.ndim == 1:
        return probabilities.gather(1, targets[:, None])[:, 0]
    return torch.where(targets > 0, probabilities, 1 - probabilities).prod(1)


def _most_frequent(targets: torch.Tensor) -> float:
    _, counts = targets.unique(dim=0, return_counts=True)
    return float(counts.max() / len(targets))
