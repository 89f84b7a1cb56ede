"""What the tables say about rows whose numbers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reached import misses, training_misses
from benchmarks.report import GROUPS, errors, page, rewrite, section, table
from benchmarks.tables import cells, model_cells, option_cells, training_cells
from benchmarks.words import CHINESE, ENGLISH

ROOT = Path(__file__).parents[2]
PAGES = ("docs/benchmarks.md", "docs/benchmarks.zh-CN.md")
NAMES = ("README.md", "README.zh-CN.md", *PAGES)
MACHINE: dict[str, Any] = {
    "date": "2026-11-21",
    "cpu": "a CPU",
    "cores": 2,
    "isa": None,
    "load": 0.2,
}
MACHINE |= {"missing": {"keras on jax": ["keras"]}}
SGEMM = {"quartiles": [9.0, 10.0, 11.0], "calls": 3, "memory": 0}  # 2 * 1024**3 in 10 ms


def row(cell: str, shape: list[int], mode: str, ours: float, **peers: float) -> dict[str, Any]:
    found: dict[str, Any] = {"sgemm": SGEMM, "jax scan": {"error": "ImportError: no"}}
    for name, milliseconds in {"anyrnn": ours, **peers}.items():
        quartiles = [0.9 * milliseconds, milliseconds, 1.1 * milliseconds]
        found[name] = {"quartiles": quartiles, "calls": 5, "memory": 4 << 20}
    operations = 2 * 1024**3  # as many as sgemm
    about = {"cell": cell, "shape": shape, "mode": mode, "threads": 2, "load": 0.1}
    return {**about, "operations": operations, "peers": found}


ROWS = [
    row("lstm", [32, 100, 128, 128], "inference", 12.5, **{"torch.nn": 25.0, "onnxruntime": 50.0}),
    row("lstm", [1, 100, 128, 128], "inference", 10.0, **{"torch.nn": 5.0}),
    row("gru", [1, 1, 128, 128], "inference", 0.03, **{"torch.nn": 0.06}),
    row(
        "lstm_peephole", [1, 9, 8, 8], "training", 10.0, **{"torch loop": 40.0, "onnxruntime": 5.0}
    ),
]
OPTION_ROWS = [
    {
        **row("gru", [32, 100, 8, 8], "inference", 6.0, **{"anyrnn plain": 10, "torch.nn": 12}),
        "option": "mask",
        "real": 0.5,
    },
    {
        **row(
            "sru", [32, 100, 8, 8], "training", 6.0, **{"products and a copy": 5, "torch loop": 60}
        ),
        "option": "plain",
        "real": 1.0,
    },
]
MODEL_ROWS = [
    {
        **row(
            cell,
            [32, 100, 8, 8],
            "fit",
            1,
            **{"model on jax: anyrnn": 20.0, "model on jax: keras": k},
        ),
        "option": "lengths",
        "real": 0.5,
    }
    for cell, k in (("gru", 60.0), ("rnn", 30.0))
]
DOCUMENT = {"machine": {**MACHINE, "versions": {"torch": "2.13"}}, "rows": ROWS}


def test_a_row() -> None:
    shown = ["12.5", "-", "torch.nn", "25", "2.00", "-", "-", "80%", "4.2 / 4.2"]
    assert cells(ROWS[0])[0] == ["lstm", "inference", "32×100×128×128", *shown]
    assert cells(ROWS[3])[0][3:10] == ["10", "-", "onnxruntime", "5", "0.50", "-", "4.00"]


def test_a_prepared_layer_is_no_peer_and_aims_are_about_it() -> None:
    slow = row("lstm", [1, 9, 8, 8], "inference", 10.0, **{"torch.nn": 8.0, "anyrnn prepared": 4.0})
    assert cells(slow)[0][3:9] == ["10", "4", "torch.nn", "8", "0.80", "2.00"]
    assert misses(slow) == {}
    text = page({**DOCUMENT, "rows": [slow]}, "layers", ENGLISH)
    means = "| lstm | inference | **0.80** (0.80 to 0.80) | **2.00** (2.00 to 2.00) |"
    assert f"{means} 1×9×8×8, torch.nn | 1.2 | 0.97 |" in text


def test_rows_with_one_thread_stand_beside_the_others() -> None:
    alone = {**ROWS[1], "threads": 1, "load": 0.7}
    both = {**DOCUMENT, "rows": [ROWS[0], alone]}
    text = page(both, "layers", ENGLISH)
    two, one = text.index("2 threads:"), text.index("One thread:")
    assert two < text.index("**2.00** (2.00 to 2.00)") < one < text.index("**0.50** (0.50 to 0.50)")
    assert "0.50 (1×100×128×128, one thread)" in text
    assert "kept 0.2 cores busy before the first row, and more than 0.5 before 1 rows" in text
    assert [line[-1] for line in table(both["rows"], "layers")] == ["Threads", "2", "1"]
    assert "**2.00** (2.00 to 2.00)" in section({"layers": both}, ENGLISH)  # of two threads only
    chinese = page(both, "layers", CHINESE)
    assert "一个线程" in chinese
    assert len(chinese.splitlines()) == len(text.splitlines())


def test_random_shapes_tell_their_seed_and_the_worst_row() -> None:
    text = page({**DOCUMENT, "random": {"count": 40, "seed": 7}}, "random", ENGLISH)
    assert "40 shapes drawn from the seed 7." in text
    assert "| lstm | inference | **1.00** (0.50 to 2.00) | - | 1×100×128×128, torch.nn |" in text
    peephole = "| lstm_peephole | training | **4.00** (4.00 to 4.00) | - | 1×9×8×8, torch loop |"
    assert peephole in text


def test_misses() -> None:
    ROWS[1]["peers"]["anyrnn"]["memory"] = 8 << 20
    found = [misses(row) for row in ROWS]
    assert found[0] == {"share": pytest.approx(0.8)}
    assert found[1] == {"ratio": 0.5, "memory": 2.0}
    assert found[2] == {"stream": pytest.approx(30)}
    assert found[3] == {"ratio": 0.5}
    failed = {**ROWS[0]["peers"], "anyrnn": {"error": "crashed: SIGSEGV"}}
    assert misses({**ROWS[0], "peers": failed}) == {"ratio": 0.0}


def test_the_section_of_the_readme() -> None:
    documents = {
        "layers": DOCUMENT,
        "options": {**DOCUMENT, "rows": OPTION_ROWS},
        "keras": {**DOCUMENT, "rows": MODEL_ROWS},
    }
    english, chinese = (section(documents, words) for words in (ENGLISH, CHINESE))
    assert "| inference | **1.00** (0.50 to 2.00) | **2.00** (2.00 to 2.00) | - | - |" in english
    assert "| training | - | - | - | **4.00** (4.00 to 4.00) |" in english
    assert "| mask | **1.20** (1.20 to 1.20) | **2.00** (2.00 to 2.00) | - | - |" in english
    assert (
        "| linear cells; of products and a copy | - | - | **1.20** (1.20 to 1.20) | **10.00**"
        in english
    )
    assert "| fit, lengths | - | **2.12** (1.50 to 3.00) | - | 2.5 |" in english
    assert "| 推理 | **1.00**（0.50 到 2.00） |" in chinese
    assert len(english.splitlines()) == len(chinese.splitlines())
    alone = section({"keras": documents["keras"]}, ENGLISH)
    assert "cores of a CPU" in alone
    assert "lstm" not in alone


def test_the_page_tells_what_is_missing_and_what_went_wrong() -> None:
    text = page(DOCUMENT, "layers", ENGLISH)
    assert "Not installed: keras on jax (keras)." in text
    assert "Went wrong: jax scan: gru, inference, 1×1×128×128: ImportError: no." in text
    assert len(errors(ROWS)) == 4


def test_the_pages_list_every_row_that_misses_an_aim() -> None:
    layers, options, models = (
        page({**DOCUMENT, "rows": rows}, group, ENGLISH)
        for group, rows in (("layers", ROWS), ("options", OPTION_ROWS), ("keras", MODEL_ROWS))
    )
    assert "- lstm inference: 0.50 (1×100×128×128)\n- lstm_peephole training: 0.50" in layers
    assert "Ratio below the aim:\n\n- gru mask inference: 2.00 (32×100×8×8)" in options
    assert "plain layer's:\n\n- gru mask inference: 1.20 (32×100×8×8)" in options
    assert "- rnn lengths fit: 1.50 (jax)" in models
    chinese = page({**DOCUMENT, "rows": OPTION_ROWS}, "options", CHINESE)
    assert "- gru mask 推理: 2.00 (32×100×8×8)" in chinese
    assert "| gru | mask | 推理 | 32×100×8×8 | 50% | 6 |" in chinese
    assert len(chinese.splitlines()) == len(options.splitlines())


def test_only_what_is_between_the_marks_is_written(tmp_path: Path) -> None:
    marks = GROUPS["layers"].marks
    (tmp_path / "docs").mkdir()
    for name in NAMES:
        assert all((ROOT / name).read_text().count(mark) == 1 for mark in marks)
        (tmp_path / name).write_text(f"before {marks[0]} old {marks[1]} after")
    for _ in range(2):
        rewrite({"layers": DOCUMENT}, tmp_path)
        for name in NAMES:
            text = (tmp_path / name).read_text()
            assert text.startswith(f"before {marks[0]}\n\n")
            assert text.endswith(f"\n{marks[1]} after")
            assert "old" not in text
            assert text.count("2.00") >= 2
    (tmp_path / NAMES[0]).write_text("no marks")
    with pytest.raises(ValueError, match=r"README\.md needs the marks"):
        rewrite({"layers": DOCUMENT}, tmp_path)


def test_a_row_of_options() -> None:
    (mask,), (linear,) = map(option_cells, OPTION_ROWS)
    assert mask[:6] == ["gru", "mask", "inference", "32×100×8×8", "50%", "6"]
    assert mask[6:] == ["**1.20**", "-", "torch.nn", "12", "**2.00**"]
    assert linear[6:] == ["-", "1.20", "torch loop", "60", "10.00"]


def test_a_row_of_models() -> None:
    torch, jax, _ = model_cells(MODEL_ROWS[1])
    assert jax == ["rnn", "lengths", "fit", "jax", "2", "3", "**1.50**"]
    assert torch[3:] == ["torch", "-", "-", "-"]
    assert model_cells(MODEL_ROWS[0])[1][-1] == "3.00"


@pytest.mark.parametrize(
    ("group", "rows", "means"),
    [
        (
            "options",
            OPTION_ROWS,
            "| mask | **1.20** (1.20 to 1.20) | **2.00** (2.00 to 2.00) | - |",
        ),
        ("keras", MODEL_ROWS, "| fit, lengths | - | **2.12** (1.50 to 3.00) | - | 2.5 |"),
    ],
)
def test_a_group_has_its_place_in_the_pages(
    group: str, rows: list[dict[str, Any]], means: str, tmp_path: Path
) -> None:
    document = {**DOCUMENT, "rows": rows}
    (tmp_path / "docs").mkdir()
    for name in NAMES:
        (tmp_path / name).write_text((ROOT / name).read_text())
    rewrite({group: document}, tmp_path)
    assert means in (tmp_path / PAGES[0]).read_text()
    for name, words in zip(PAGES, (ENGLISH, CHINESE), strict=True):
        assert all((ROOT / name).read_text().count(mark) == 1 for mark in GROUPS[group].marks)
        assert page(document, group, words) in (tmp_path / name).read_text()


def test_the_documents_say_what_the_files_hold(tmp_path: Path) -> None:
    groups = {name: group for name, group in GROUPS.items() if group.path.exists()}
    written = {name: json.loads(group.path.read_text()) for name, group in groups.items()}
    (tmp_path / "docs").mkdir()
    for name in NAMES:
        (tmp_path / name).write_text((ROOT / name).read_text())
    rewrite(written, tmp_path)
    for name in NAMES:
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_a_row_of_trainings() -> None:
    times = {"training: torch.nn": 36.0, "training: no recurrent layers": 9.0}
    found = {**row("gru", [8, 9, 4, 4], "train", 1, **{"training: anyrnn": 30.0, **times})}
    (shown,) = training_cells({**found, "option": "tag"})
    beside = ["tag", "gru", "8×9×4×4", "3", "0.9", "torch.nn", "3.6", "**1.20**"]
    assert shown == [*beside, "-", "-", "-"]
    assert training_misses({**found, "cell": "lstm"}) == {}
    keras = {f"training: keras on {backend}": n for backend, n in (("jax", 27.0), ("torch", 90.0))}
    found = {
        **row("lstm", [8, 9, 4, 4], "train", 1, **{"training: anyrnn": 30.0, **times, **keras})
    }
    found["option"] = "tag"
    (shown,) = training_cells(found)
    assert shown[7:] == ["1.20", "jax", "2.7", "**0.90**"]
    assert training_misses(found) == {"ratio": pytest.approx(0.9)}
