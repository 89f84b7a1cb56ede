"""The tasks with scikit-learn's verbs."""

import itertools
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy
import pandas
import pyarrow
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from toy_reviews import reviews, write_csv

from anyrnn.errors import AnyrnnError, DataError, RunError, SizeError
from anyrnn.tasks import (
    Captioner,
    Forecaster,
    LanguageModel,
    SequenceClassifier,
    Tagger,
    TextClassifier,
    Transcriber,
    Translator,
    train,
)
from anyrnn.tasks.classify import DataOptions, ModelOptions, Options, TrainingOptions

SMALL = {"cell": "gru", "embedding_size": 8, "hidden_size": 8, "batch_size": 16, "epochs": 12}
SMALL |= {"learning_rate": 0.02, "device": "cpu", "dropout": 0.1}
FRAME = pandas.DataFrame(reviews(200), columns=["text", "label"])


@pytest.fixture(scope="module")
def fitted() -> TextClassifier:
    return TextClassifier(**SMALL).fit(FRAME["text"], FRAME["label"])


def test_learns_and_says_so(fitted: TextClassifier) -> None:
    assert fitted.score(FRAME["text"], FRAME["label"]) > 0.9
    assert list(fitted.classes_) == ["neg", "pos"]
    probabilities = fitted.predict_proba(["a bad film", "a good film"])
    assert probabilities.shape == (2, 2)
    numpy.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert len(fitted.history_) <= 12
    assert fitted.history_[0]["validation_loss"] > fitted.history_[-1]["validation_loss"]


def test_saved_and_loaded_it_says_the_same(fitted: TextClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "run")
    again = TextClassifier.load(tmp_path / "run")
    texts = list(FRAME["text"][:20])
    assert numpy.array_equal(again.predict_proba(texts), fitted.predict_proba(texts))
    assert again.get_params() == fitted.get_params()
    assert list(again.predict(texts)) == list(fitted.predict(texts))
    with pytest.raises(RunError, match="exists"):
        fitted.save(tmp_path / "run")
    fitted.save(tmp_path / "run", overwrite=True)
    assert numpy.array_equal(
        pickle.loads(pickle.dumps(fitted)).predict_proba(texts), fitted.predict_proba(texts)
    )


def test_labels_keep_their_type_and_half_characters_do_no_harm() -> None:
    numbers = [{"pos": 1, "neg": 0}[label] for label in FRAME["label"]]
    assert TextClassifier(**SMALL | {"epochs": 1}).fit(
        pyarrow.array(FRAME["text"]), pyarrow.array(FRAME["label"])
    )
    texts = [*FRAME["text"][1:], "a good film \ud83d"]
    found = TextClassifier(**SMALL | {"epochs": 1}).fit(texts, numbers)
    assert found.predict(["good", "bad \ud83d"]).dtype == numpy.int64


def test_parameters_are_those_of_the_options() -> None:
    classifier = TextClassifier(hidden_size=7)
    assert clone(classifier).get_params()["hidden_size"] == 7
    assert {"cell", "epochs", "learning_rate", "vocabulary_size"} <= classifier.get_params().keys()
    assert "data" not in classifier.get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'hidden'"):
        classifier.set_params(hidden=3)
    with pytest.raises(TypeError, match="no parameter 'hiden_size'"):
        TextClassifier(hiden_size=3)


def test_a_search_over_parameters() -> None:
    search = GridSearchCV(TextClassifier(**SMALL | {"epochs": 1}), {"cell": ["rnn", "gru"]}, cv=2)
    search.fit(list(FRAME["text"][:60]), list(FRAME["label"][:60]))
    assert set(search.cv_results_["param_cell"]) == {"rnn", "gru"}


def test_bad_input() -> None:
    classifier = TextClassifier(**SMALL)
    with pytest.raises(DataError, match="3 texts, but 2 labels"):
        classifier.fit(["a", "b", "c"], ["x", "y"])
    with pytest.raises(DataError, match="row 1 is 3"):
        classifier.fit(["a", 3], ["x", "y"])
    with pytest.raises(DataError, match="one text was given"):
        classifier.fit("a text", ["x"])
    for wrong in ({"a", "b"}, {"a": 1}, None, FRAME):  # without order, or columns
        with pytest.raises(DataError, match="but a list of texts is needed"):
            classifier.fit(wrong, ["x", "y"])
    with pytest.raises(SizeError, match="hidden_size is 0"):
        TextClassifier(hidden_size=0).fit(FRAME["text"], FRAME["label"])


TINY = {"cell": "gru", "hidden_size": 4, "epochs": 3, "batch_size": 8, "learning_rate": 0.05}
TINY |= {"dropout": 0.0, "device": "cpu"}
NUMBERS = SequenceClassifier(**TINY)


@estimator_checks.parametrize_with_checks(
    [SequenceClassifier(**TINY | {"epochs": 1})],
    expected_failed_checks=lambda _: {
        "check_classifiers_train": "it fits a list of lists and expects that others than of that "
        "length are refused; sequences of a list may have any length"
    },
)
def test_numbers_in_arrays_are_as_scikit_learn_has_it(
    estimator: SequenceClassifier, check: Callable[..., None]
) -> None:
    check(estimator)


@pytest.mark.parametrize(
    "kind",
    [
        Captioner,
        Forecaster,
        LanguageModel,
        SequenceClassifier,
        Tagger,
        TextClassifier,
        Transcriber,
        Translator,
    ],
)
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_mixin_order,
    ],
)
def test_parameters_and_tags_are_as_scikit_learn_has_them(
    kind: type, check: Callable[..., None]
) -> None:
    check(kind.__name__, kind())


def waves(count: int, *, channels: int = 1) -> tuple[list[numpy.ndarray], list[str]]:
    """Sequences of 5 to 9 steps that rise ("10") or fall ("9")."""
    generator = numpy.random.default_rng(0)
    labels = [("10", "9")[number % 2] for number in range(count)]
    slopes = [1 if label == "10" else -1 for label in labels]
    steps = generator.integers(5, 10, count)
    sequences = [
        slope * numpy.arange(length)[:, None] + generator.normal(0, 0.3, (length, channels))
        for slope, length in zip(slopes, steps, strict=True)
    ]
    return sequences, labels


@pytest.mark.parametrize("form", ["list", "lists of numbers", "2-D", "3-D", "frame", "array"])
def test_sequences_of_numbers_in_every_form(form: str, tmp_path: Path) -> None:
    sequences, labels = waves(60, channels=2 if form == "3-D" else 1)
    cut = numpy.array([each[:5] for each in sequences])
    ragged = numpy.empty(len(sequences), object)
    ragged[:] = sequences
    X = {
        "list": sequences,
        "lists of numbers": [each[:, 0].tolist() for each in sequences],
        "2-D": cut[:, :, 0],
        "3-D": cut,
        "frame": pandas.DataFrame(cut[:, :, 0], columns=[f"step {n}" for n in range(5)]),
        "array": ragged,
    }[form]
    found = SequenceClassifier(**TINY | {"epochs": 8}).fit(X, labels)
    # In the order of strings, which scikit-learn's own figures take for granted.
    assert list(found.classes_) == ["10", "9"]
    assert found.score(X, labels) > 0.9
    probabilities = found.predict_proba(X)
    assert list(found.classes_[probabilities.argmax(1)]) == list(found.predict(X))
    assert hasattr(found, "n_features_in_") == (form in ("2-D", "frame"))
    assert hasattr(found, "feature_names_in_") == (form == "frame")
    found.save(tmp_path / "run")
    again = SequenceClassifier.load(tmp_path / "run")
    assert numpy.array_equal(again.predict_proba(X), probabilities)
    assert again.get_params() == found.get_params()
    if form == "2-D":
        with pytest.raises(
            ValueError, match="X has 4 features, but SequenceClassifier is expecting 5"
        ):
            found.predict(X[:, :4])
        # Fitted anew on sequences of any length, it forgets how many steps there were.
        assert len(found.set_params(epochs=1).fit(sequences, labels).predict(X[:, :4])) == 60
    elif form == "3-D":
        assert len(found.predict(X[:, :3])) == 60
        with pytest.raises(DataError, match=r"shape \(5, 1\), but has to be \(time, 2\)"):
            found.predict(X[:, :, :1])


def test_without_a_validation_part() -> None:
    sequences, labels = waves(20)
    found = SequenceClassifier(**TINY | {"epochs": 1}, validation_share=0).fit(sequences, labels)
    assert set(found.predict(sequences)) <= {"9", "10"}
    tagger = Tagger(**TINY | {"epochs": 1}, validation_share=0).fit(SENTENCES, TAGS)
    assert len(tagger.predict(SENTENCES)) == len(SENTENCES)


def test_sequences_in_searches_and_pipelines() -> None:
    sequences, labels = waves(40)
    assert len(cross_val_score(NUMBERS, sequences, labels, cv=2, scoring="neg_log_loss")) == 2
    search = GridSearchCV(NUMBERS, {"hidden_size": [2, 4]}, cv=2).fit(sequences, labels)
    assert search.best_params_["hidden_size"] in (2, 4)
    X = numpy.array([each[:5, 0] for each in sequences])
    pipeline = make_pipeline(StandardScaler(), clone(NUMBERS)).fit(X, labels)
    assert set(pipeline.predict(X)) <= {"9", "10"}


def test_sequences_that_cannot_be_used() -> None:
    sequences, labels = waves(20)
    with pytest.raises(NotFittedError):
        NUMBERS.predict(sequences)
    for X, y, message in [
        ([*sequences[:19], numpy.zeros((3, 2))], labels, r"row 19 has 2 channel\(s\) instead of 1"),
        ([*sequences[:19], []], labels, "row 19 has no step"),
        ([*sequences[:19], ["a", "b"]], labels, r"row 19 is \['a', 'b'\], but has to be numbers"),
        ([*sequences[:19], 3.0], labels, "row 19 has the shape one number"),
        ([*sequences[:19], numpy.ones(3, complex)], labels, "row 19 has complex numbers"),
        ([*sequences[:19], torch.ones(3, requires_grad=True)], labels, "row 19 is .*detach"),
        ([*sequences[:19], [numpy.inf]], labels, "row 19 has a value that is infinite"),
        (sequences, labels[:3], "20 sequences, but 3 labels"),
        (sequences, [*labels[:19], "rare"], "'rare' has 1 different sequence.*skip_bad=True"),
        (sequences, [*labels[:19], None], "row 19 has no label"),
        (sequences, pandas.Series([*labels[:19], numpy.nan]), "row 19 has no label"),
        (sequences, iter([*labels[:19], pandas.NA]), "row 19 has no label"),
        (None, labels, "a NoneType was given, but a list of sequences is needed"),
        (numpy.zeros((20, 5, 0)), labels, "row 0 has no channel"),
        (sequences, numpy.linspace(0, 1, 20), "Unknown label type: continuous"),
    ]:
        with pytest.raises(ValueError, match=message):
            NUMBERS.fit(X, y)
    kept = clone(NUMBERS).set_params(skip_bad=True).fit(sequences, [*labels[:19], "rare"])
    assert list(kept.classes_) == ["10", "9"]


def test_what_is_masked_is_missing() -> None:
    sequences, labels = waves(20)
    cut = numpy.array([each[:5, 0] for each in sequences])
    masked = numpy.ma.array(cut, mask=numpy.eye(20, 5, dtype=bool))
    missing = masked.filled(numpy.nan)
    found = clone(NUMBERS).fit(list(missing), labels)
    for given in (masked, list(masked)):
        again = clone(NUMBERS).fit(given, labels)
        assert numpy.array_equal(again.predict_proba(given), found.predict_proba(list(missing)))


def test_mistakes_name_parameters_as_the_estimator_does() -> None:
    for wrong, message in (
        ({"cell": ["gru"]}, r"^cell is \['gru'\], but has to be text"),
        ({"epochs": 1.5}, "^epochs is 1.5, but has to be a whole number"),
    ):
        with pytest.raises(AnyrnnError, match=message):
            TextClassifier(**wrong).fit(FRAME["text"], FRAME["label"])


def test_a_run_of_several_labels_is_read(tmp_path: Path) -> None:
    rows = [(text, label if "film" not in text else f"{label};film") for text, label in reviews(80)]
    options = Options(
        DataOptions(
            write_csv(tmp_path / "a.csv", rows),
            text="review",
            label="sentiment",
            label_separator=";",
        ),
        ("gru",),
        model=ModelOptions(hidden_size=4, embedding_size=4),
        training=TrainingOptions(epochs=1, device="cpu"),
    )
    train(options, tmp_path / "run")
    found = TextClassifier.load(tmp_path / "run")
    texts = [text for text, _ in rows]
    assert list(found.classes_) == ["film", "neg", "pos"]
    expected = found.predict_proba(texts) > 0.5
    assert numpy.array_equal(found.predict(texts), expected)
    with pytest.raises(RunError, match="reads texts, but SequenceClassifier sequences"):
        SequenceClassifier.load(tmp_path / "run")


# A word is a verb after "they" and a noun after "the".
ROWS = list(
    itertools.product(["they", "the"], ["walk", "run", "play", "call"], ["now", "home", "x"])
)
SENTENCES = [[*row[: 2 + number % 2]] for number, row in enumerate(ROWS)]
TAGS = [
    [["PRON", "DET"][each[0] == "the"], ["VERB", "NOUN"][each[0] == "the"], "ADV"][: len(each)]
    for each in SENTENCES
]


def test_a_tagger(tmp_path: Path) -> None:
    tagger = Tagger(**TINY | {"epochs": 25}, characters="none", word_dropout=0.0)
    with pytest.raises(NotFittedError):
        tagger.predict(SENTENCES)
    tagger.fit(SENTENCES, TAGS)
    assert list(tagger.classes_) == ["ADV", "DET", "NOUN", "PRON", "VERB"]
    assert tagger.predict([*SENTENCES[:2], [], SENTENCES[2]]) == [*TAGS[:2], [], TAGS[2]]
    assert tagger.score(SENTENCES, TAGS) == 1
    assert tagger.score([["they"], []], [["NEW"], []]) == 0
    assert tagger.history_
    tagger.save(tmp_path / "run")
    again = Tagger.load(tmp_path / "run")
    assert again.predict(SENTENCES) == tagger.predict(SENTENCES)
    first, nothing, last = tagger.predict_proba([SENTENCES[0], [], SENTENCES[1]])
    assert (first.shape, nothing.shape, last.shape) == ((2, 5), (0, 5), (3, 5))
    assert list(tagger.classes_[last.argmax(1)]) == TAGS[1]
    assert numpy.array_equal(again.predict_proba(SENTENCES)[1], last)
    assert again.get_params() == tagger.get_params()
    scores = cross_val_score(clone(tagger).set_params(epochs=1), SENTENCES, TAGS, cv=2)
    assert len(scores) == 2


def test_a_tagger_of_spans() -> None:
    tags = [["I-PER", "O"], ["B-PER", "I-PER", "O"]] * 16
    sentences = [["Ana", "walks"], ["Ana", "Li", "walks"]] * 16
    tagger = Tagger(**TINY, crf=True).fit(sentences, tags)
    assert list(tagger.classes_) == ["B-PER", "I-PER", "O"]
    assert [each.sum(1) for each in tagger.predict_proba(sentences[:2])] == [
        pytest.approx(numpy.ones(count)) for count in (2, 3)
    ]


def test_sentences_that_cannot_be_used() -> None:
    tagger = Tagger(**TINY)
    for X, y, message in [
        ("they walk", TAGS, "a list of lists of tokens is needed"),
        (["they walk"], [["A"]], "row 0 is 'they walk', but has to be a list of tokens"),
        ([["they", 3]], [["A", "B"]], "row 0 has the token 3"),
        ([["they", "walk"]], [["A"]], "row 0 has 2 tokens, but 1 tags"),
        ([["they"]], [["A"], ["B"]], "1 sentences, but 2 lists of tags"),
        ([["they"]] * 4, [["A"]] * 4, "1 different sentence"),
        ([[]], [[]], "no sentence with a token"),
    ]:
        with pytest.raises(DataError, match=message):
            tagger.fit(X, y)
