"""Labels: their order, which is that of the classes, and the figures of classes."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from toy_reviews import write_csv

from anyrnn.tasks.classify import DataOptions, Options
from anyrnn.tasks.classify.data import read, sorted_labels
from anyrnn.tasks.classify.inputs import Texts
from anyrnn.tasks.classify.task import Classify
from anyrnn.tasks.data.vocabulary import TextVocabulary
from anyrnn.tasks.scores.class_scores import confusion_of, label_scores, scores_of

NUMBERS = ["-2", "0.5", "1", "01", "1e1", "20", "30.5", "1e300"]
WORDS = ["-nan", "1e400", "Infinity", "NaN", "a", "inf", "nan"]


def test_labels_have_one_order_whatever_the_hash_seed(tmp_path: Path) -> None:
    labels = sorted([*NUMBERS, *WORDS])
    for order in (labels, labels[::-1], labels[7:] + labels[:7]):
        rows = [(f"text {number}", label) for number in range(5) for label in order]
        path = write_csv(tmp_path / "a.csv", rows)
        data = read(DataOptions(path, "review", "sentiment"), seed=0)
        assert sorted_labels(data.training) == [
            *["-2", "0.5", "01", "1", "1e1", "20", "30.5", "1e300"],
            *WORDS,
        ]


def test_figures_of_classes_by_hand(tmp_path: Path) -> None:
    data = DataOptions(tmp_path / "a.csv", "review", "sentiment")
    inputs = Texts(TextVocabulary(Tokenizer(models.WordLevel())))
    task = Classify.of(Options(data), ["no", "yes"], inputs, None)
    probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    targets = torch.tensor([0, 0, 1])
    figures = {name: metric(probabilities, targets) for name, metric in task.metrics().items()}
    assert float(figures["accuracy"]) == pytest.approx(2 / 3)
    assert float(figures["macro_f1"]) == pytest.approx(2 / 3)
    predicted = probabilities.argmax(1)
    confusion = confusion_of(predicted, targets, 2)
    no, yes = scores_of(confusion, task.labels)
    assert (no.precision, no.recall, no.count) == (1, 0.5, 2)
    assert (yes.precision, yes.recall, yes.count) == (0.5, 1, 1)
    assert confusion.tolist() == [[1, 1], [0, 1]]
    several = label_scores(probabilities, torch.tensor([[1, 1], [0, 0], [0, 1]]), task.labels)
    assert [(each.precision, each.recall, each.count) for each in several] == [
        (1, 1, 1),
        (0.5, 0.5, 2),
    ]
