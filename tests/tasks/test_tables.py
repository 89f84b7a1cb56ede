import gzip
from pathlib import Path
from types import SimpleNamespace

import pandas
import pyarrow
import pytest
from pyarrow import parquet

from anyrnn.errors import DataError, OptionError
from anyrnn.tasks.data import contents, table_pieces
from anyrnn.tasks.data.encoding import decoded_lines
from anyrnn.tasks.data.table import Table
from anyrnn.tasks.data.table_files import complete, read_complete, read_table


@pytest.fixture(autouse=True, params=["in memory", "on disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where tables are kept; large ones on disk, read in pieces, here of two rows and few bytes."""
    if request.param == "on disk":
        monkeypatch.setattr(contents, "LARGE", 0)
        monkeypatch.setattr(contents, "_BLOCK", 5)
        monkeypatch.setattr(table_pieces, "_ROWS", 2)
        monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path / "cache"))
    return request.param


def lists(table: Table) -> dict[str, list[str | None]]:
    """The columns, in memory."""
    return {name: list(values) for name, values in table.columns.items()}


def columns(tmp_path: Path, name: str, content: str, **options: object) -> dict:
    path = tmp_path / name
    path.write_bytes(content.encode(str(options.get("encoding", "utf-8"))))
    return lists(read_table(path, **options))  # pyright: ignore[reportArgumentType]


def test_values_stay_as_they_are(tmp_path: Path) -> None:
    content = "text,label\nNA,007\nnull,1.0\nnan,1e3\n-,TRUE\n"
    assert columns(tmp_path, "a.csv", content) == {
        "text": ["NA", "null", "nan", "-"],
        "label": ["007", "1.0", "1e3", "TRUE"],
    }


def test_quoted_values(tmp_path: Path) -> None:
    content = 'text,label\n"a, ""b""\nc",x\n'
    assert columns(tmp_path, "a.csv", content)["text"] == ['a, "b"\nc']


def test_mark_at_the_beginning_and_windows_lines(tmp_path: Path) -> None:
    assert columns(tmp_path, "a.csv", "\ufefftext,label\r\na,b\r\n") == {
        "text": ["a"],
        "label": ["b"],
    }


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030", "utf-8-sig"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    content = "文本,标签\n房间,好\n"
    read = columns(tmp_path, "a.csv", content, encoding=encoding)
    assert read == {"文本": ["房间"], "标签": ["好"]}


def test_stray_quotes_in_tab_separated_lines(tmp_path: Path) -> None:
    content = 'text\tlabel\n"no end\t1\nan end"\t2\n"a ""b"" c"\t3\n'
    assert columns(tmp_path, "a.tsv", content)["text"] == ['"no end', 'an end"', 'a "b" c']


def test_quoted_line_ends_in_tab_separated_values(tmp_path: Path) -> None:
    content = 'text\tlabel\n"one\ntwo"\t1\n'
    assert columns(tmp_path, "a.tsv", content)["text"] == ["one\ntwo"]


def test_exports_of_spreadsheets(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("day;price\n01.02.2024;1,5\n")
    with pytest.raises(DataError, match="seem separated by ';': use separator=';'"):
        read_table(path)
    path.write_text("sep=;\nday;price\n01.02.2024;1,5\n")
    with pytest.raises(DataError, match=r"begins with 'sep=;'.*remove it"):
        read_table(path, separator=";")


def test_without_header(tmp_path: Path) -> None:
    assert columns(tmp_path, "a.csv", "x,y\n", header=False) == {"1": ["x"], "2": ["y"]}


def test_json_lines(tmp_path: Path) -> None:
    content = '{"t": "a", "l": 1}\n\n{"l": 1.50, "t": null}\n{"t": ["x"], "l": true}\n'
    assert columns(tmp_path, "a.jsonl", content) == {
        "t": ["a", None, '["x"]'],
        "l": ["1", "1.50", "true"],
    }


def test_half_characters_in_json(tmp_path: Path) -> None:
    assert columns(tmp_path, "a.jsonl", '{"t": "cut \\ud83d"}\n')["t"] == ["cut ?"]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pandas.DataFrame({"t": ["a", None, "c"], "l": [1, 2, 3]}).to_parquet(path)
    assert lists(read_table(path)) == {"t": ["a", None, "c"], "l": ["1", "2", "3"]}


def test_complete_rows_are_numbered_from_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('t,l\n"a\nb",1\n,2\n c ,\nd,4\n')
    table = read_table(path)
    wanted = [("t", "text"), ("l", "label")]
    found = complete(table, wanted, skip_bad=True)
    assert lists(found) == {"t": ["a\nb", "d"], "l": ["1", "4"]}
    assert list(found.rows) == ["record 1", "record 4"]
    assert found.skipped == {"without t": 1, "without l": 1}
    with pytest.raises(DataError, match=r"record 2.*'t'.*2 rows"):
        complete(table, wanted, skip_bad=False)


def test_two_options_that_name_one_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("file,text\na.wav,yes\n")
    options = SimpleNamespace(reading={}, skip_bad=False)
    with pytest.raises(OptionError, match="recording and transcript are both 'file'; name two"):
        read_complete(path, options, [("file", "recording"), ("file", "transcript")])


def test_only_wanted_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"t": ["a", "b"], "l": [b"x", b"y"], "tags": [["p", "q"], []], "s": [{"k": 1}] * 2}
    parquet.write_table(pyarrow.table(columns), path)
    table = read_table(path, wanted=["t", "l"])
    assert lists(table) == {"t": ["a", "b"], "l": ["x", "y"]}
    assert table.names == ["t", "l", "tags", "s"]
    with pytest.raises(DataError, match=r"the column 'tags' cannot be read: list<.*> is no text"):
        read_table(path, wanted=["tags"])


def test_values_of_parquet_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    numbers = pyarrow.array([1, None, 3])
    words = pyarrow.array(["x", None, "y"]).dictionary_encode()
    table = pyarrow.table({"n": numbers, "w": words, "f": [1.5, float("nan"), None]})
    parquet.write_table(table, path)
    assert lists(read_table(path)) == {
        "n": ["1", None, "3"],
        "w": ["x", None, "y"],
        "f": ["1.5", None, None],
    }


TWICE = {
    "a.csv": "t,l,t\na,1,b\n",
    "a.tsv": "t\tl\tt\na\t1\tb\n",
    "a.jsonl": '{"t": "a", "l": 1, "t": "b"}\n',
}


@pytest.mark.parametrize("name", [*TWICE, "a.parquet"])
def test_two_columns_of_one_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in TWICE:
        path.write_text(TWICE[name])
    else:
        parquet.write_table(pyarrow.table([["a"], ["1"], ["b"]], names=["t", "l", "t"]), path)
    with pytest.raises(DataError, match=r"two .* 't'"):
        read_table(path, wanted=["t", "l"]).column("t", "text")
    assert list(read_table(path, wanted=["l"]).column("l", "label")) == ["1"]


@pytest.mark.parametrize("value", ["[" * 10**5 + "]" * 10**5, '{"a":' * 10**5 + "1" + "}" * 10**5])
def test_deeply_nested_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(contents, "_BLOCK", 2**14)  # the line is long
    with pytest.raises(DataError, match="line 2 is nested too deeply"):
        columns(tmp_path, "a.jsonl", '{"t": "a"}\n{"t": ' + value + "}\n")


def test_nan_in_json_is_a_missing_value(tmp_path: Path) -> None:
    assert columns(tmp_path, "a.jsonl", '{"t": NaN}\n{"t": "NaN"}\n')["t"] == [None, "NaN"]


@pytest.mark.parametrize("name", ["a.txt", "a", "a.dat", "a.txt.gz"])
def test_any_text_with_a_separator(tmp_path: Path, name: str) -> None:
    content = b"text\tlabel\na\t1\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for separator in ("\t", "\\t"):  # as the message says that it is typed
        assert lists(read_table(path, separator=separator)) == {"text": ["a"], "label": ["1"]}
    with pytest.raises(DataError, match="with separator any file of text"):
        read_table(path)


@pytest.mark.parametrize("separator", ["", "ab", '"', "\n", "\r"])
def test_no_separators(tmp_path: Path, separator: str) -> None:
    with pytest.raises(DataError, match="has to be one ASCII character"):
        columns(tmp_path, "a.csv", "a,b\n1,2\n", separator=separator)


@pytest.mark.parametrize("encoding", ["klingon", "", "rot13", "hex", "\udcff"])
def test_no_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="Python knows no such encoding"):
        read_table(tmp_path / "a.csv", encoding=encoding)
    with pytest.raises(DataError, match="Python knows no such encoding"):
        list(decoded_lines([b"a\n"], "a.txt", encoding))


@pytest.mark.parametrize("encoding", ["undefined", "idna"])
def test_encodings_that_refuse(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(b"a\n\xff..\n")
    with pytest.raises(DataError, match=f"is not {encoding}"):
        read_table(tmp_path / "a.csv", encoding=encoding)
    with pytest.raises(DataError, match=f"is not {encoding}"):
        list(decoded_lines([b"\xff..\n"], "a.txt", encoding))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"]
)
def test_lines_of_a_stream(encoding: str) -> None:
    # The bytes of some of these characters hold that of a line end.
    lines = ["好 film \u0a0a", "", "\u0d0a\u0a00 end"]
    content = "\r\n".join(lines).encode(encoding)
    pieces = content.splitlines(keepends=True)
    assert list(decoded_lines(pieces, "a.txt", encoding)) == lines
    assert list(decoded_lines([content], "a.txt", encoding)) == lines


def test_the_line_that_is_damaged() -> None:
    found = decoded_lines([b"a\n", b"\xff\n"], "a.txt", "utf-8")
    assert next(found) == "a"
    with pytest.raises(DataError, match=r"a\.txt is not utf-8: byte 0xff at position 2, line 2; "):
        next(found)
