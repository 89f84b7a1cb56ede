"""On how many cores libraries run, with which instructions, and beside what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks.__main__ as command
import benchmarks.load as load
from anyrnn.errors import KernelError
from benchmarks.cases import MOST_OPERATIONS, SUBNORMAL, Case, random_shapes
from benchmarks.conditions import Conditions, cores
from checks import TARGETS

HOLD = """
import json, os, sys
from benchmarks.conditions import Conditions
Conditions(1, sys.argv[1] or None).enter()
import torch
from anyrnn.kernels.target import default_target
kernels, aten = default_target().name, torch.backends.cpu.get_cpu_capability()
print(json.dumps([len(os.sched_getaffinity(0)), kernels, aten]))
"""


@pytest.mark.skipif("avx2" not in TARGETS, reason="the CPU has no AVX2")
@pytest.mark.skipif(sys.platform != "linux", reason="holds processes to cores on Linux only")
def test_libraries_are_held_to_cores_and_instructions() -> None:
    environment = Conditions(1, "avx2").environment({"KERAS_BACKEND": "jax"})
    assert (environment["KERAS_BACKEND"], environment["OMP_NUM_THREADS"]) == ("jax", "1")
    program = [sys.executable, "-c", HOLD, "avx2"]
    found = subprocess.run(program, env=environment, check=True, capture_output=True, text=True)
    assert json.loads(found.stdout.splitlines()[-1]) == [1, "avx2", "AVX2"]


def test_options_of_xla_that_are_there_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    assert Conditions(2).environment({})["XLA_FLAGS"] == "--xla_dump_to=x"
    both = "--xla_dump_to=x --xla_cpu_max_isa=AVX2"
    assert Conditions(2, "avx2").environment({})["XLA_FLAGS"] == both


def test_the_work_of_others_is_counted_in_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "stat"
    looks = iter(["cpu 100 0 50 800 50 0 0 0 9 9", "cpu 160 0 70 900 60 0 0 10 99 99"])
    file.write_text(next(looks))
    monkeypatch.setattr(load, "STATISTICS", file)
    monkeypatch.setattr(load.time, "sleep", lambda _: file.write_text(next(looks)))
    monkeypatch.setattr(load.os, "cpu_count", lambda: 2)
    assert load.busy_cores(1) == 0.9  # 90 of 200 ticks, of which 10 the host gave to others
    monkeypatch.setattr(load, "STATISTICS", tmp_path / "none")
    monkeypatch.setattr(load.os, "getloadavg", lambda: (1.25, 9, 9), raising=False)
    assert load.busy_cores(1) == 1.25


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    command.main()


QUICK = ("--group", "layers", "--cells", "gru", "--modes", "training", "--shapes", "2,3,5,7")


@pytest.mark.parametrize(("busy", "told"), [(1.6, ""), (0.6, "warning: other"), (0.1, "keep 0.1")])
def test_a_busy_machine_is_told_or_refused(
    busy: float,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(command, "busy_cores", lambda _: busy)
    monkeypatch.setattr(command, "run", lambda *_: iter(()))
    output = tmp_path / "rows.json"
    if busy > 1.5:
        with pytest.raises(SystemExit) as ended:
            run(monkeypatch, *QUICK, "--output", str(output))
        assert ended.value.code == 2
        said = capsys.readouterr().out
        assert said.count("\n") == 1
        assert "other programs keep 1.6 cores busy, more than 1.5" in said
        run(monkeypatch, *QUICK, "--output", str(output), "--force")
    else:
        run(monkeypatch, *QUICK, "--output", str(output))
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--threads", "0"), "expected numbers from 1 to"),
        (("--threads", str(cores() + 1)), "expected numbers from 1 to"),
        (("--random", "40"), "--random COUNT and --seed SEED go together"),
        (("--seed", "1"), "--random COUNT and --seed SEED go together"),
        (("--random", "0", "--seed", "1"), "expected 1 or more"),
        (("--random", "4", "--seed", "1", "--group", "keras"), "no --shapes or other --group"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: tuple[str, ...],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_instructions_that_the_cpu_lacks_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(name: str) -> None:
        raise KernelError(f"this machine (arm64) cannot run {name}; usable: neon")

    monkeypatch.setattr(command, "host", lacking)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "--isa", "avx2")
    assert ended.value.code == 2
    assert (
        "--isa avx2: this machine (arm64) cannot run avx2; usable: neon" in capsys.readouterr().err
    )


def test_random_shapes_of_any_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Case] = []
    monkeypatch.setattr(command, "busy_cores", lambda _: 0.0)
    monkeypatch.setattr(command, "run", lambda cases, *_: iter(asked.extend(cases) or ()))
    run(monkeypatch, "--random", "2", "--seed", "1", "--cells", "fast_slow", "--quick")
    shapes = random_shapes(2, 1)
    modes = ("inference", "training")
    assert {*asked} == {Case("fast_slow", shape, mode) for shape in shapes for mode in modes}
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "--group", "keras", "--modes", "training")
    assert ended.value.code == 2


def test_rows_of_another_seed_are_not_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "random.json"
    path.write_text(
        json.dumps({"machine": {"isa": None}, "random": {"count": 2, "seed": 1}, "rows": []})
    )
    monkeypatch.setattr(command, "busy_cores", lambda _: 0.0)
    monkeypatch.setattr(command, "run", lambda *_: iter(()))
    given = ("--random", "2", "--cells", "gru", "--output", str(path), "--resume", "--seed")
    run(monkeypatch, *given, "1")
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *given, "2")
    assert ended.value.code == 2
    assert "another --random and --seed" in capsys.readouterr().out.replace("\n", " ")


def test_random_shapes_are_those_of_their_seed() -> None:
    shapes = random_shapes(40, 7)
    assert len({*shapes}) == 40
    assert shapes == random_shapes(40, 7)
    assert shapes[:10] == random_shapes(10, 7)
    assert not {*shapes} & {*random_shapes(40, 8)}
    for batch, time, inputs, hidden in shapes:
        assert 8 * batch * time * hidden * (inputs + hidden) <= MOST_OPERATIONS
        assert batch >= 1
        assert time >= 1
        assert inputs >= 1
        assert hidden >= 8


def test_rows_with_subnormal_numbers_have_them() -> None:
    case = Case("lstm", (4, 3, 5, 7), "training", SUBNORMAL)
    data = case.data()
    assert 0 < abs(data.x).max() < 1.2e-38
    assert 0 < abs(data.output_gradient).max() < 1.2e-38
    right = case.reference(data, 1)
    for name in ("output", "x"):
        assert 0 < abs(right[name]).max() < 1.2e-38, name
