"""The tasks with scikit-learn's verbs."""

import pickle
from pathlib import Path

import numpy
import pandas
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from toy_reviews import reviews

from anyrnn.errors import DataError, RunError, SizeError
from anyrnn.tasks import TextClassifier

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


def test_labels_keep_their_type() -> None:
    numbers = [{"pos": 1, "neg": 0}[label] for label in FRAME["label"]]
    found = TextClassifier(**SMALL | {"epochs": 1}).fit(list(FRAME["text"]), numbers)
    assert found.predict(["good"]).dtype == numpy.int64


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
    with pytest.raises(SizeError, match="hidden_size is 0"):
        TextClassifier(hidden_size=0).fit(FRAME["text"], FRAME["label"])
