from pathlib import Path

import pandas
import pytest

from anyrnn.errors import DataError
from anyrnn.tasks.tables import complete_rows, read_table


def columns(tmp_path: Path, name: str, content: str, **options: object) -> dict:
    path = tmp_path / name
    path.write_bytes(content.encode(str(options.get("encoding", "utf-8"))))
    return read_table(path, **options).columns  # pyright: ignore[reportArgumentType]


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
    assert read_table(path).columns == {"t": ["a", None, "c"], "l": ["1", "2", "3"]}


def test_complete_rows_are_numbered_from_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('t,l\n"a\nb",1\n,2\n c ,\nd,4\n')
    table = read_table(path)
    wanted = [("t", "--text"), ("l", "--label")]
    assert complete_rows(table, wanted, skip_bad=True) == ([0, 3], {"t": 1, "l": 1})
    with pytest.raises(DataError, match=r"record 2.*'t'.*2 rows"):
        complete_rows(table, wanted, skip_bad=False)
