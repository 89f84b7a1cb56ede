"""Tagging: files of all kinds, spans, the conditional random field, training and its figures."""

import gzip
import itertools
import json
import random
from pathlib import Path

import pytest
import torch

from anyrnn.errors import DataError
from anyrnn.tasks.experiment import train
from anyrnn.tasks.tag import DataOptions, ModelOptions, Options, TrainingOptions, WordOptions
from anyrnn.tasks.tag.crf import ConditionalRandomField
from anyrnn.tasks.tag.files import Sentences, read_sentences
from anyrnn.tasks.tag.model import TagNetwork
from anyrnn.tasks.tag.scores import TaggingScores
from anyrnn.tasks.tag.spans import SpanCounts, repaired, spans
from anyrnn.tasks.tag.task import Tag
from anyrnn.tasks.trained import evaluate, load

VERBS = {"walks": "walk", "sees": "see", "hears": "hear"}
NAMES = ("Ana", "Bo", "Li", "Zoe")
NOUNS = ("dog", "cat", "sea")


def sentences(count: int, seed: int = 0) -> list[list[tuple[str, str]]]:
    """A word is a noun or a verb by its neighbour: "the walk ends", "they walk home"."""
    generator = random.Random(seed)
    found = []
    for _ in range(count):
        first = [("the", "DET")] if generator.random() < 0.5 else [("they", "PRON")]
        word = generator.choice(["walk", "run", "play", "call"])
        last = (word, "NOUN" if first[0][0] == "the" else "VERB")
        rest = [(generator.choice(NOUNS), "NOUN") for _ in range(generator.randint(0, 3))]
        name = (generator.choice(NAMES) + str(generator.randrange(50)), "PROPN")
        found.append([name, *first, last, *rest])
    return found


def conllu(path: Path, rows: list[list[tuple[str, str]]]) -> Path:
    text = ""
    for number, sentence in enumerate(rows):
        text += f"# sent_id = {number}\n"
        for place, (token, tag) in enumerate(sentence, start=1):
            text += f"{place}\t{token}\t_\t{tag}" + "\t_" * 6 + "\n"
        text += "\n"
    path.write_text(text, encoding="utf-8")
    return path


def options(path: Path, **choices: object) -> Options:
    model = {"embedding_size": 12, "hidden_size": 12, "dropout": 0.1, **choices.pop("model", {})}
    if model.get("characters") != "none":
        model["character_size"] = 8
    training = {"epochs": 6, "batch_size": 16, "learning_rate": 2e-2, "device": "cpu"}
    training |= choices.pop("training", {})
    data = DataOptions(path, **choices.pop("data", {}))
    words = WordOptions(**choices)
    return Options(data, ("gru",), words, ModelOptions(**model), TrainingOptions(**training))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(("characters", "crf"), [("last", True), ("max", False), ("none", False)])
def test_learns(tmp_path: Path, characters: str, crf: bool) -> None:
    path = conllu(tmp_path / "train.conllu", sentences(150))
    model = {"characters": characters, "crf": crf}
    result = train(options(path, model=model), tmp_path / "run")
    scores = result.best.scores
    assert isinstance(scores, TaggingScores)
    # Four of eight words could be either; their neighbour tells.
    assert scores.figures["accuracy"] > 0.97
    assert scores.figures["accuracy"] > scores.baselines["most frequent tags"]["accuracy"] + 0.05
    assert scores.figures["loss"] < 0.3
    assert sum(map(sum, scores.confusion)) == scores.count


def test_a_run_is_read_evaluated_and_predicts(tmp_path: Path) -> None:
    path = conllu(tmp_path / "train.conllu", sentences(150))
    other = conllu(tmp_path / "other.conllu", sentences(40, seed=1))
    chosen = options(path, data={"test_data": other}, model={"crf": True})
    result = train(chosen, tmp_path / "run")
    assert {"vocabulary.json", "report.html"} <= {p.name for p in (tmp_path / "run").iterdir()}
    evaluation = evaluate(tmp_path / "run", {"data": other})
    assert evaluation.scores == result.best.scores
    inputs = [["Ana7", "the", "walk"], ["they"], ["they", "walk", "dog", "cat"]]
    model = load(tmp_path / "run", kind=Tag)
    found = model.predict(inputs)
    assert [one.tokens for one in found] == inputs
    assert found[0].tags == ["PROPN", "DET", "NOUN"]
    assert found[2].tags[:2] == ["PRON", "VERB"]
    # What a sentence is tagged does not depend on those beside it.
    assert [model.predict([one])[0] for one in inputs] == found
    assert model.predict([]) == []


@pytest.mark.usefixtures("pictures")
def test_spans_decide_when_tags_describe_them(tmp_path: Path) -> None:
    rows = [
        [(token, "I-PER" if tag == "PROPN" else "O") for token, tag in sentence]
        for sentence in sentences(100)
    ]
    path = conllu(tmp_path / "train.conllu", rows)
    result = train(options(path, training={"epochs": 3}), tmp_path / "run")
    assert result.task.tags == ["B-PER", "O"]
    assert result.task.deciding == "span_f1"
    assert result.best.scores.figures["span_f1"] > 0.9
    assert [one.label for one in result.best.scores.kinds] == ["PER"]
    text = (tmp_path / "run" / "report.html").read_text()
    assert "F1 of spans" in text
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["facts"]["skipped"][str(path)] == {"tags I- that begin a span, now B-": 100}
    plain = train(options(path, spans="no", training={"epochs": 1}), tmp_path / "plain")
    assert plain.task.tags == ["I-PER", "O"]


def test_conllu(tmp_path: Path) -> None:
    rows = (
        "\ufeff# text = it's here\r\n"
        "1-2\tit's" + "\t_" * 8 + "\r\n"
        "1\tit\tit\tPRON\tPRP\t_\t2\tnsubj\t_\t_\r\n"
        "2\t's\tbe\tAUX\tVBZ\tMood=Ind\t0\troot\t_\t_\r\n"
        "2.1\tthere" + "\t_" * 8 + "\r\n"
        "3\there\there\tADV\tRB\t_\t2\tadvmod\t_\t_\r\n"
        "# no empty line before the next sentence\r\n"
        "1\t#\t#\tSYM\tNN\t_\t0\troot\t_\t_\r\n"
        "2\tNew York\tNew York\tPROPN\tNNP\t_\t1\tflat\t_\t_"
    )
    path = write(tmp_path / "a.conllu", rows)
    found = read_sentences(path)
    assert found.tokens == [["it", "'s", "here"], ["#", "New York"]]
    assert found.tags == [["PRON", "AUX", "ADV"], ["SYM", "PROPN"]]
    assert found.skipped == {"multiword tokens": 1, "empty nodes": 1}
    assert read_sentences(path, tag_column="XPOS").tags[0] == ["PRP", "VBZ", "RB"]
    assert read_sentences(path, tag_column="6").tags[0] == ["_", "Mood=Ind", "_"]
    assert read_sentences(path, token_column="lemma").tokens[0][1] == "be"
    packed = tmp_path / "a.conllu.gz"
    packed.write_bytes(gzip.compress(rows.encode()))
    assert read_sentences(packed).tokens == found.tokens


def test_conll_columns(tmp_path: Path) -> None:
    text = (
        "-DOCSTART- -X- O O\n\n"
        "# a comment\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\n\n"
        "-DOCSTART- -X- O O\n"
        "# # I-NP O\n1 CD I-NP O\n"
    )
    found = read_sentences(write(tmp_path / "eng.train", text))
    assert found.tokens == [["EU", "rejects"], ["#", "1"]]
    assert found.tags == [["B-ORG", "O"], ["O", "O"]]
    assert list(found.rows) == ["line 4", "line 9"]
    tabs = write(tmp_path / "a.tsv", "New York\tB-LOC\n\nein Café\tO\n", "utf-16")
    assert read_sentences(tabs, encoding="utf-16").tokens == [["New York"], ["ein Café"]]


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "tokens": ["a", "1", "[x]"], "tags": ["DET", "NUM", "X"]},
        {"tokens": [], "tags": []},
        {"tokens": ["b"], "tags": [7]},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    found = read_sentences(path)
    assert found.tokens == [["a", "1", "[x]"], ["b"]]
    assert found.tags == [["DET", "NUM", "X"], ["7"]]
    names = {"token_column": "words", "tag_column": "labels"}
    other = write(tmp_path / "b.jsonl", '{"words": ["a"], "labels": ["X"]}\n')
    assert read_sentences(other, **names).tags == [["X"]]


U = "1\ta\ta\tX\tX\t_\t0\troot\t_\t_\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.conll", "a X\nb\n\n", r"line 2 has 1 column\(s\) instead of 2.*skip_bad"),
        ("a.conll", "a X\n\nb Y Z\n", r"line 3 has 3 column\(s\) instead of 2"),
        ("a.conll", "a\nb\n", "its first row, 'a', has a single column"),
        ("a.conllu", U.replace("\t", " "), r"line 1 has 1 column\(s\) instead of 10.*tabs"),
        ("a.conllu", U + "x\tb\tb\tX\tX\t_\t0\troot\t_\t_\n", "line 2 has the ID 'x'"),
        ("a.conllu", U.replace("X", "_"), "line 1 has no tag in column 4 upos"),
        ("a.conllu", U.replace("\ta\ta", "\t \ta"), "line 1 has no token"),
        ("a.conllu", "# only\n# comments\n", "has no sentence"),
        ("a.conll", "# only\n# comments\n", "has no sentence"),
        ("a.conllu", "\n\n", "is empty"),
        ("a.jsonl", '{"tokens": ["a"]}\n', "has no column 'tags'"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["X", "Y"]}\n', "line 1 has 1 tokens but 2 tags"),
        ("a.jsonl", '\n{"tokens": "a b", "tags": ["X"]}\n', "line 2 has no list 'tokens'"),
        ("a.jsonl", '{"tokens": ["a"], "tags": [null]}\n', "line 1 has null in its list 'tags'"),
        ("a.jsonl", '{"tokens": ["a", " "], "tags": ["X", "Y"]}\n', 'has " " in its list'),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(DataError, match=message) as caught:
        read_sentences(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conllu", U)
    with pytest.raises(DataError, match=r"no column 'upo' \(tag_column\); did you mean 'upos'"):
        read_sentences(path, tag_column="upo")
    with pytest.raises(DataError, match=r"no column '11'.*number from 1 to 10"):
        read_sentences(path, token_column="11")
    with pytest.raises(DataError, match="not utf-8"):
        read_sentences(write(tmp_path / "b.conll", "café X\n", "latin-1"))


def test_bad_sentences_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "a X\nb\n\nc Y\n")
    found = read_sentences(path, skip_bad=True)
    assert found.tokens == [["c"]]
    assert sum(found.skipped.values()) == 1
    lines = write(tmp_path / "a.jsonl", '{"tokens": 1, "tags": []}\n{"tokens":["a"],"tags":["X"]}')
    assert read_sentences(lines, skip_bad=True).tokens == [["a"]]


def test_too_few_sentences(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "a X\nb Y\n" * 30)
    with pytest.raises(DataError, match=r"1 different sentence.*empty line ends a sentence"):
        train(options(path), tmp_path / "run")
    path = write(tmp_path / "b.conll", "".join(f"w{i} X\n\n" for i in range(30)))
    with pytest.raises(DataError, match="only the tag 'X'"):
        train(options(path), tmp_path / "run")
    assert not list(tmp_path.glob("run*"))


@pytest.mark.parametrize("crf", [False, True])
def test_a_tag_that_the_training_does_not_have_counts_as_wrong(tmp_path: Path, crf: bool) -> None:
    path = conllu(tmp_path / "train.conllu", sentences(60))
    rows = [[("Ana", "PROPN"), ("the", "NEW"), ("dog", "NOUN")], [("the", "NEW")]]
    test = conllu(tmp_path / "test.conllu", rows)
    chosen = options(path, data={"test_data": test}, model={"crf": crf}, training={"epochs": 1})
    result = train(chosen, tmp_path / "run")
    assert result.best.scores.count == 4
    assert result.best.scores.figures["accuracy"] <= 0.5
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["facts"]["unknown_tags"] == {"test": {"NEW": 2}}
    conllu(test, [[("the", "NEW")]])
    with pytest.raises(DataError, match=r"no tag that the training sentences have.*tag_column"):
        evaluate(tmp_path / "run", {"data": test})


def test_repeats_and_resumes(tmp_path: Path) -> None:
    path = conllu(tmp_path / "train.conllu", sentences(60))
    chosen = options(path, training={"epochs": 2})
    first, second = (train(chosen, tmp_path / name).best.scores for name in ("a", "b"))
    assert first == second


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", []),
        ("B-A I-A O B-A", [(0, 2, "A"), (3, 4, "A")]),
        ("B-A B-A", [(0, 1, "A"), (1, 2, "A")]),
        ("I-A I-A O I-B", [(0, 2, "A"), (3, 4, "B")]),
        ("B-A I-B I-B", [(0, 1, "A"), (1, 3, "B")]),
        ("B-A I-A E-A S-A O", [(0, 3, "A"), (3, 4, "A")]),
        ("B-A L-A U-B", [(0, 2, "A"), (2, 3, "B")]),
        ("E-A I-A", [(0, 1, "A"), (1, 2, "A")]),
    ],
)
def test_spans_as_conlleval(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert spans(tags.split()) == expected
    assert spans(repaired(tags.split())) == expected


def test_f1_of_spans() -> None:
    """The example of seqeval's documentation: 0.5."""
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    given = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    counts = SpanCounts.of(true, given)
    assert counts.f1 == counts.precision == counts.recall == 0.5
    assert SpanCounts().f1 == 0


def test_conditional_random_field_is_the_sum_over_all_sequences() -> None:
    torch.manual_seed(1)
    count, lengths = 3, [4, 1, 2]
    crf = ConditionalRandomField(count).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    emissions = torch.randn(3, 4, count, dtype=torch.float64)
    tags = torch.tensor([[0, 2, -1, 1], [2, 0, 0, 0], [-1, 1, 0, 0]])

    def score(row: int, sequence: tuple[int, ...]) -> float:
        total = start[sequence[0]] + end[sequence[-1]]
        total = total + sum(emissions[row, step, tag] for step, tag in enumerate(sequence))
        pairs = itertools.pairwise(sequence)
        return float(total + sum(transitions[before, tag] for before, tag in pairs))

    values = [parameter.detach() for parameter in (crf.start, crf.transitions, crf.end)]
    start, transitions, end = values
    losses = crf.losses(emissions, tags, torch.tensor(lengths))
    decoded = crf.decode(emissions, torch.tensor(lengths))
    marginals = crf.marginals(emissions, torch.tensor(lengths)).detach()
    for row, length in enumerate(lengths):
        scores = {each: score(row, each) for each in itertools.product(range(3), repeat=length)}
        true = tags[row, :length].tolist()
        fitting = [
            scores[each]
            for each in scores
            if all(b in (a, -1) for a, b in zip(each, true, strict=True))
        ]
        expected = torch.logsumexp(torch.tensor(list(scores.values())), 0) - torch.logsumexp(
            torch.tensor(fitting), 0
        )
        assert float(losses[row].detach()) == pytest.approx(float(expected))
        assert tuple(decoded[row, :length].tolist()) == max(scores, key=scores.__getitem__)
        assert not decoded[row, length:].any()
        chances = torch.tensor(list(scores.values())).softmax(0)
        for step, tag in itertools.product(range(length), range(count)):
            having = torch.tensor([each[step] == tag for each in scores])
            assert float(marginals[row, step, tag]) == pytest.approx(float(chances[having].sum()))
    assert torch.autograd.gradcheck(
        lambda each, *_: crf.losses(each, tags, torch.tensor(lengths)),
        (emissions.requires_grad_(), *crf.parameters()),
    )


def test_a_long_word_and_a_strange_one(tmp_path: Path) -> None:
    rows = [[("x" * 5000, "A"), ("\u200d", "B")], [("y", "A")], [("é", "B")], [("e\u0301", "B")]]
    found: Sentences = read_sentences(conllu(tmp_path / "a.conllu", rows))
    assert found.tokens[0][0] == "x" * 5000
    result = train(options(tmp_path / "a.conllu", training={"epochs": 1}), tmp_path / "run")
    assert result.best.scores.count


def test_several_threads_sum_a_gradient_in_one_order() -> None:
    torch.manual_seed(0)
    network = TagNetwork("gru", [3] * 9, 20, 3, embedding_size=8, character_size=32, hidden_size=8)
    words = torch.randint(2, 11, (30, 40))
    spelling = torch.randint(2, 20, (11, 6))
    given = (words, torch.full((30,), 40), spelling[words], words)
    threads, gradients = torch.get_num_threads(), set()
    torch.set_num_threads(4)
    try:
        for _ in range(20):
            network.zero_grad()
            torch.manual_seed(1)
            network(*given).square().sum().backward()
            gradients.add(network.characters.weight.grad.numpy().tobytes())  # pyright: ignore
    finally:
        torch.set_num_threads(threads)
    assert len(gradients) == 1
