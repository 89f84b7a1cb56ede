"""Break the product in one line at a time, and see that the tests that should notice do.

`make mutations` copies the tree, and runs the tests of each line of `BREAKAGES` with that line
broken; the test that fails then must pass without. A breakage that no test notices has survived: a
test is missing. A line that is no longer found ends the command: the list follows the product.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PASSED, FAILED = 0, 1  # what pytest ends with
LIMIT = 600  # seconds


@dataclass(frozen=True)
class Breakage:
    """One line of the product, broken.

    Attributes:
        what: What is wrong then.
        file: Where, in `src/anyrnn`.
        old: What stands there, once in the file.
        new: What stands there instead.
        tests: What must fail: arguments of pytest.
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, source: Path) -> str:
        """Write the broken file, and give back what it was."""
        path = source / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            count = text.count(self.old)
            sys.exit(f"{self.what}: {self.file} has {self.old!r} {count} times; expected once")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return text


BREAKAGES = (
    Breakage(
        "0 - x is x, not -x",
        "graph/simplify.py",
        'return make("negative", right)',
        "return right",
        ("tests/graph/test_nodes.py",),
    ),
    Breakage(
        "a product of the output is recurrent",
        "graph/roles.py",
        "recurrent = reads.intersection(carried)",
        "recurrent = reads",
        ("tests/graph/test_roles.py", "-k", "recurrent_matrices_only"),
    ),
    Breakage(
        "Philox leaves the upper half of the seed out",
        "graph/randomness.py",
        "key = (row ^ np.uint64(seed >> 32 & WORD))[:, None]",
        "key = row[:, None]",
        ("tests/kernels/test_random_numbers.py", "-k", "another_seed or rnn_output"),
    ),
    Breakage(
        "the gates r and z of the GRU change places",
        "cells/gru.py",
        'state stays.\n    """\n'
        "    r = sigmoid(W.r @ x + U.r @ h + b.r)\n    z = sigmoid(W.z @ x + U.z @ h + b.z)\n",
        'state stays.\n    """\n'
        "    z = sigmoid(W.z @ x + U.z @ h + b.z)\n    r = sigmoid(W.r @ x + U.r @ h + b.r)\n",
        ("tests/torch/test_drop_in.py", "-k", "GRU"),
    ),
    Breakage(
        "dropout does not scale what it keeps",
        "transforms/dropout.py",
        "constant(1 / (1 - rate))",
        "constant(1)",
        ("tests/torch/test_dropout.py",),
    ),
    Breakage(
        "the derivative of sigmoid is s, not s (1 - s)",
        "derivative/rules.py",
        '(_times(d, _times(node, make("subtract", ONE, node))),)',
        "(_times(d, node),)",
        ("tests/derivative/test_rules.py",),
    ),
    Breakage(
        "the schedule divides twice by a number of a row",
        "schedule/normal.py",
        'make("divide", constant(1), number)',
        'make("divide", make("divide", constant(1), number), number)',
        ("tests/cells/test_contract.py", "-k", "large_odd and normalised"),
    ),
    Breakage(
        "softplus loses what adding one loses",
        "kernels/cpu/emit/mathematics.py",
        "v.add(logarithm(v, u), v.divide(lost, u))",
        "logarithm(v, u)",
        ("tests/kernels/test_mathematics.py", "-k", "softplus"),
    ),
    Breakage(
        "a vector that is not whole is left out",
        "kernels/cpu/program/loop_layout.py",
        "-(-size // (tile.blocks * self.lanes))",
        "max(1, size // (tile.blocks * self.lanes))",
        ("tests/kernels/test_loop.py", "-k", "interpreter and lstm"),
    ),
    Breakage(
        "a tile's second vector is computed from the first one's sums",
        "kernels/cpu/emit/unit_stage.py",
        'offset = function.integer("add", place, start + index * blocks * v.lanes)',
        'offset = function.integer("add", row, start + index * blocks * v.lanes)',
        ("tests/kernels/test_loop.py", "-k", "interpreter and lstm"),
    ),
    Breakage(
        "rows that threads cannot share evenly are left out",
        "kernels/cpu/program/row_division.py",
        "np.arange(threads + 1) * rows // threads",
        "np.arange(threads + 1) * (rows // threads)",
        ("tests/kernels/test_loop.py", "-k", "threads"),
    ),
    Breakage(
        "a state is put back to the initial one of its sequence",
        "kernels/row_layout.py",
        "return self._owner + put_back * self._shape[1]",
        "return self._owner + 0 * put_back",
        ("tests/torch/test_resets.py",),
    ),
    Breakage(
        "a step that does not count carries the first output",
        "kernels/row_layout.py",
        "self._row[near, np.arange(self._shape[1])], self.rows)",
        "self._row[near, np.arange(self._shape[1])], 0)",
        ("tests/kernels/test_sequences.py",),
    ),
    Breakage(
        "damaged code on disk is loaded",
        "kernels/store.py",
        "if checksum != _checksum(content):",
        "if not checksum:",
        ("tests/kernels/test_store.py", "-k", "damaged"),
    ),
    Breakage(
        "the two biases of torch change places",
        "torch/drop_in.py",
        '    "bias_ih": "b",\n    "bias_hh": "d",\n',
        '    "bias_ih": "d",\n    "bias_hh": "b",\n',
        ("tests/torch/test_drop_in.py", "-k", "GRU"),
    ),
    Breakage(
        "the gates of Keras' GRU stand in torch's order",
        "keras/gate_order.py",
        '"gru": ("z", "r", "n"),',
        '"gru": ("r", "z", "n"),',
        ("tests/keras/test_layers.py", "-k", "those_of_keras"),
    ),
    Breakage(
        "accuracy is the mean over classes",
        "tasks/classify/scores.py",
        'average="micro"',
        'average="macro"',
        ("src/anyrnn/tasks/classify/scores.py",),
    ),
    Breakage(
        "a mistake on the command line ends with 0",
        "cli/main.py",
        "sys.exit(_run())",
        "sys.exit(_run() and 0)",
        ("tests/cli/test_cells_show.py", "-k", "mistakes"),
    ),
)


def copy(folder: Path) -> None:
    """The files of the tree, and the store of compiled code, whose keys are hashes of the code."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    store = ROOT / ".pytest_cache" / "d" / "compiled-code"
    store.mkdir(parents=True, exist_ok=True)
    (folder / ".pytest_cache" / "d").mkdir(parents=True)
    (folder / ".pytest_cache" / "d" / "compiled-code").symlink_to(store.resolve())


def run(folder: Path, tests: Sequence[str]) -> tuple[int, str]:
    """What pytest ends with, and the first test that failed; or else what it said last."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "--no-header", "--tb=no"]
    environment = {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            encoding="utf-8",
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return FAILED, f"pytest has not ended after {LIMIT} s"
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if failed:
        return FAILED, failed[0].split(" ", 1)[1].split(" - ")[0]
    if done.returncode < 0:
        return FAILED, f"the process has ended with {done.returncode}"
    return done.returncode, "\n".join(lines[-5:])


def check(each: Breakage, folder: Path) -> tuple[bool, str]:
    """Whether a breakage is noticed, and by which test; that test passes when nothing is broken."""
    text = each.apply(folder / "src/anyrnn")
    code, said = run(folder, each.tests)
    (folder / "src/anyrnn" / each.file).write_text(text, encoding="utf-8")
    if code == PASSED:
        return False, "SURVIVED"
    if code != FAILED:
        sys.exit(f"{' '.join(each.tests)}: pytest ends with {code}: {said}")
    code, without = run(folder, [said] if "::" in said else each.tests)
    if code != PASSED:
        sys.exit(f"{' '.join(each.tests)} must pass where nothing is broken: {without}")
    return True, said


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", nargs="*", help="only breakages with one of these words")
    words = parser.parse_args().words
    chosen = [each for each in BREAKAGES if not words or any(word in each.what for word in words)]
    survived = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        for each in chosen:
            text = each.apply(folder / "src/anyrnn")
            (folder / "src/anyrnn" / each.file).write_text(text, encoding="utf-8")
        for each in chosen:
            noticed, said = check(each, folder)
            survived += not noticed
            print(f"{each.what}: {said}", flush=True)
    print(f"{len(chosen)} breakages, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
