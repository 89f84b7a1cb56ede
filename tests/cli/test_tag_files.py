"""Tagging from the command line, from files of every kind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from outcomes import mistake

Run = Callable[..., tuple[int, str, str]]
SMALL = ["--cell", "gru", "--hidden-size", "8", "--embedding-size", "8", "--character-size", "4"]
SMALL += ["--batch-size", "8", "--learning-rate", "0.05", "--device", "cpu"]
ROWS = [
    [("they" if verb else "the", "PRON" if verb else "DET"), (word, "VERB" if verb else "NOUN")]
    + [("now", "ADV")] * more
    for word in ("walk", "run", "play", "call", "step")
    for verb in (True, False)
    for more in range(4)
]


def conll(rows: list[list[tuple[str, str]]]) -> str:
    return "\n".join("".join(f"{token} {tag}\n" for token, tag in row) for row in rows)


def conllu(rows: list[list[tuple[str, str]]]) -> str:
    return "\n".join(
        "".join(
            f"{number}\t{token}\t_\t{tag}" + "\t_" * 6 + "\n"
            for number, (token, tag) in enumerate(row, start=1)
        )
        for row in rows
    )


def jsonl(rows: list[list[tuple[str, str]]]) -> str:
    return "".join(
        json.dumps({"tokens": [token for token, _ in row], "tags": [tag for _, tag in row]}) + "\n"
        for row in rows
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files lie in a folder of their own."""
    monkeypatch.chdir(tmp_path)


def trained(run: Run, name: str, text: str, *options: str, epochs: int = 1) -> str:
    Path(name).write_text(text, encoding="utf-8")
    code, _, error = run("train", "tag", "--data", name, "--epochs", str(epochs), *SMALL, *options)
    assert code == 0, error
    return f"runs/{Path(name).stem}"


@pytest.mark.parametrize(
    ("name", "text"), [("a.conll", conll), ("a.conllu", conllu), ("a.jsonl", jsonl)]
)
def test_from_a_file_to_tags(run: Run, name: str, text: Callable[..., str]) -> None:
    model = trained(run, name, text(ROWS), epochs=15)
    code, out, error = run("evaluate", model, "--data", name, "--json")
    assert code == 0, error
    assert json.loads(out)["accuracy"] > 0.9
    code, out, error = run("predict", model, "--file", name)
    assert code == 0, error
    answers = list(map(json.loads, out.splitlines()))
    assert [each["tokens"] for each in answers] == [[t for t, _ in row] for row in ROWS]
    assert answers[3]["tags"] == [tag for _, tag in ROWS[3]]
    Path("plain.txt").write_text("they run\n\nthe run now\n", encoding="utf-8")
    code, out, error = run("predict", model, "--file", "plain.txt")
    tags = [json.loads(line)["tags"] for line in out.splitlines()]
    assert tags == [["PRON", "VERB"], [], ["DET", "NOUN", "ADV"]]
    assert run("predict", model, "they run")[1].splitlines() == [out.splitlines()[0]]
    answers = run("predict", model, "they run", "--file", name)[1].splitlines()
    assert (len(answers), answers[0]) == (1 + len(ROWS), out.splitlines()[0])
    void = mistake(run("predict", model, "--file", "plain.txt", "--token-column", "form"))
    assert "--token-column has no effect on lines of text; leave --token-column out" in void


GOOD = conll(ROWS)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.conll", b"", [], "a.conll is empty"),
        ("a.conll", b"\n \n", [], "a.conll is empty"),
        ("a.conll", b"# a comment\n", [], "a.conll has no sentence that can be used"),
        (
            "a.conll",
            b"a X\nb\n",
            [],
            "line 2 has 1 column(s) instead of 2; mend it, or leave such ",
        ),
        ("a.conll", b"a X\n\nb X Y\n", [], "line 3 has 3 column(s) instead of 2"),
        ("a.conllu", b"1 a a X\n", [], "line 1 has 1 column(s) instead of 10; CoNLL-U has tabs"),
        ("a.conll", "caf\u00e9 X\n".encode("latin-1"), [], "a.conll is not utf-8: byte 0xe9 at "),
        ("a.conll", GOOD.encode(), ["--tag-column", "3"], "has no column '3' (--tag-column)"),
        ("a.conll", GOOD.encode(), ["--tag-column", "1"], "tags are both in column 1"),
        ("a.jsonl", jsonl(ROWS).encode(), ["--tag-column", "tag"], "did you mean 'tags'"),
        ("a.jsonl", b'{"tokens": ["a"]', [], "line 1 is not JSON"),
        ("a.conll", b"a X\n\nb X\n\nc X\n\n", [], "has only the tag 'X'"),
        ("a.conll", b"a X\nb Y\n", [], "1 different sentence(s), but 3 are needed"),
        ("a.jsonl", b'{"tokens": ["a"], "tags": ["b"]}', [], "validation, test\n"),
        ("a.conll", GOOD.encode(), ["--test-data", "none.conll"], "there is no file none.conll"),
        ("a.conll", GOOD.encode(), ["--test-data", "."], ". is a folder, not a file"),
    ],
)
def test_mistakes_are_one_line(
    run: Run, name: str, content: bytes, options: list[str], message: str
) -> None:
    Path(name).write_bytes(content)
    assert message in mistake(run("train", "tag", "--data", name, *SMALL, *options))
    assert not Path("runs").exists()


def test_tags_that_the_training_does_not_have(run: Run) -> None:
    Path("test.conll").write_text("the DET\nwalk NEW\n\nthey PRON\n")
    Path("a.conll").write_text(GOOD)
    command = ("train", "tag", "--data", "a.conll", "--epochs", "1", *SMALL, "--test-data")
    code, out, error = run(*command, "test.conll")
    assert code == 0, error
    assert "1 test token(s) have a tag that no training sentence has ('NEW')" in out + error
    Path("other.conll").write_text("the X\nwalk Y\n")
    for arguments in (
        (*command, "other.conll", "--output", "other"),
        ("evaluate", "runs/a", "--data", "other.conll"),
    ):
        error = mistake(run(*arguments))
        assert "other.conll has no tag that the training sentences have" in error


def test_a_file_to_tag_that_cannot_be_used(run: Run) -> None:
    model = trained(run, "a.conllu", conllu(ROWS))
    for name, content, message in [
        ("b.conll", b"", "b.conll is empty"),
        ("b.conllu", b"1\ta\n", "line 1 has 2 column(s) instead of 10"),
        ("b.jsonl", b'{"words": ["a"]}\n', "has no column 'tokens' (--token-column)"),
        ("b.txt", b"caf\xe9\n", "is not utf-8"),
    ]:
        Path(name).write_bytes(content)
        assert message in mistake(run("predict", model, "--file", name))


def test_a_sentence_of_a_hundred_thousand_tokens(run: Run) -> None:
    long = [("they", "PRON"), ("walk", "VERB"), ("the", "DET"), ("run", "NOUN")] * 25_000
    rows = [*ROWS, long]
    text = jsonl(rows)
    model = trained(run, "a.jsonl", text, "--validation-data", "a.jsonl")
    code, out, error = run("predict", model, "--file", "a.jsonl")
    assert code == 0, error
    assert len(json.loads(out.splitlines()[-1])["tags"]) == 100_000
