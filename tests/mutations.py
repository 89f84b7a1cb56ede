"""Break the product in one line at a time, and see that the tests that should notice do.

`make mutations` copies the tree, and runs the tests of each line of `BREAKAGES` with that line
broken; the test that fails then must pass without. A breakage that no test notices has survived: a
test is missing. A line that is no longer found, in whatever file, ends the command and fails
`tests/test_design.py`: the list follows the product.
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
        old: What stands there, once in all files of the package.
        new: What stands there instead.
        tests: What must fail: arguments of pytest.
    """

    what: str
    old: str
    new: str
    tests: tuple[str, ...]

    def find(self, source: Path) -> Path:
        """The file that has it.

        Raises:
            LookupError: Not one does, or more than one.
        """
        texts = {path: path.read_text(encoding="utf-8") for path in source.rglob("*.py")}
        found = [path for path, text in texts.items() for _ in range(text.count(self.old))]
        if len(found) != 1:
            raise LookupError(f"{self.what}: {self.old!r} is there {len(found)} times, not once")
        return found[0]


BREAKAGES = (
    Breakage(
        "0 - x is x, not -x",
        "return -right",
        "return right",
        ("tests/graph/test_nodes.py",),
    ),
    Breakage(
        "a product of the output is recurrent",
        "recurrent = reads.intersection(carried)",
        "recurrent = reads",
        ("tests/graph/test_roles.py", "-k", "recurrent_matrices_only"),
    ),
    Breakage(
        "Philox leaves the upper half of the seed out",
        "key = (row ^ np.uint64(seed >> 32 & WORD))[:, None]",
        "key = row[:, None]",
        ("tests/kernels/test_random_numbers.py", "-k", "another_seed or rnn_output"),
    ),
    Breakage(
        "the gates r and z of the GRU change places",
        'state stays.\n    """\n'
        "    r = sigmoid(W.r @ x + U.r @ h + b.r)\n    z = sigmoid(W.z @ x + U.z @ h + b.z)\n",
        'state stays.\n    """\n'
        "    z = sigmoid(W.z @ x + U.z @ h + b.z)\n    r = sigmoid(W.r @ x + U.r @ h + b.r)\n",
        ("tests/torch/test_drop_in.py", "-k", "GRU"),
    ),
    Breakage(
        "dropout does not scale what it keeps",
        "where(drawn >= rate, 1 / (1 - rate), 0)",
        "where(drawn >= rate, 1, 0)",
        ("tests/torch/test_dropout.py",),
    ),
    Breakage(
        "the derivative of sigmoid is s, not s (1 - s)",
        "d * (y * (1 - y))",
        "d * y",
        ("tests/derivative/test_rules.py",),
    ),
    Breakage(
        "the schedule divides twice by a per-row scalar",
        "vector * (1 / scalar)",
        "vector * ((1 / scalar) / scalar)",
        ("tests/cells/test_contract.py", "-k", "large_odd and normalised"),
    ),
    Breakage(
        "softplus loses what adding one loses",
        "v.add(logarithm(v, u), v.divide(lost, u))",
        "logarithm(v, u)",
        ("tests/kernels/test_mathematics.py", "-k", "softplus"),
    ),
    Breakage(
        "a vector that is not whole is left out",
        "-(-size // (tile.blocks * self.lanes))",
        "max(1, size // (tile.blocks * self.lanes))",
        ("tests/kernels/test_loop.py", "-k", "interpreter and lstm"),
    ),
    Breakage(
        "a tile's second vector is computed from the first one's sums",
        'offset = function.integer("add", place, start + index * blocks * v.lanes)',
        'offset = function.integer("add", row, start + index * blocks * v.lanes)',
        ("tests/kernels/test_loop.py", "-k", "interpreter and lstm"),
    ),
    Breakage(
        "rows that threads cannot share evenly are left out",
        "np.arange(threads + 1) * rows // threads",
        "np.arange(threads + 1) * (rows // threads)",
        ("tests/kernels/test_loop.py", "-k", "threads"),
    ),
    Breakage(
        "a state is put back to the initial one of its sequence",
        "return self._owner + put_back * self.shape[1]",
        "return self._owner + 0 * put_back",
        ("tests/torch/test_resets.py",),
    ),
    Breakage(
        "a step that does not count carries the first output",
        "self._row[near, np.arange(self.shape[1])], self.rows)",
        "self._row[near, np.arange(self.shape[1])], 0)",
        ("tests/kernels/test_sequences.py",),
    ),
    Breakage(
        "a state is not limited to its bound",
        "return new if bound is None else limited(new, constant(bound))",
        "return new",
        ("tests/transforms/test_clip.py",),
    ),
    Breakage(
        "a mean is a sum",
        'if node.operation == "mean":\n                        total',
        'if node.operation == "":\n                        total',
        ("tests/transforms/test_pairs.py", "-k", "test_compiled and lstm_peephole"),
    ),
    Breakage(
        "a tile has more rows than registers",
        "if needed(rows) <= registers), 1)",
        "if needed(rows) <= 2 * registers), 1)",
        ("tests/kernels/test_avx2_code.py",),
    ),
    Breakage(
        "numbers of more rows than there are registers for are loaded at once",
        "if row_by_row(width, rows, self.registers):",
        "if row_by_row(width, rows, 2 * self.registers):",
        ("tests/kernels/test_avx2_code.py",),
    ),
    Breakage(
        "a single step reads the first elements of a row instead of the last",
        "write(whole, self.mask(rest))",
        'write("0", self.mask(rest))',
        ("tests/kernels/test_step.py",),
    ),
    Breakage(
        "what rounding to bfloat16 makes of NaN may be infinite",
        'unordered = v.compare("uno", value, value)\n    chosen',
        'unordered = v.compare("one", value, value)\n    chosen',
        ("tests/kernels/test_bfloat16.py", "-k", "rounding"),
    ),
    Breakage(
        "the arrays of each call are kept",
        "self._idle.append(bindings)",
        'self._idle.append(bindings); self.__dict__.setdefault("all", []).append(found)',
        ("tests/kernels/test_leaks.py", "-k", "numpy"),
    ),
    Breakage(
        "a cell has no documentation",
        'documentation=inspect.getdoc(function) or "",',
        'documentation="",',
        ("tests/cells/test_contract.py", "-k", "documentation"),
    ),
    Breakage(
        "a highway lets through what it should close off",
        "return entering + gate * (output - entering)",
        "return output + gate * (entering - output)",
        ("tests/torch/test_layer_structure.py", "-k", "highway"),
    ),
    Breakage(
        "a traced graph runs every layer forward",
        '"reverse": run.reverse,',
        '"reverse": False,',
        ("tests/torch/test_custom_operators.py", "-k", "whole_for_all_sizes or find_their_cells"),
    ),
    Breakage(
        "a run that was stopped ends as if it had finished",
        "error.exit_code, mistake=error.exit_code < 128",
        "error.exit_code % 128, mistake=error.exit_code < 128",
        ("tests/cli/test_train_evaluate_predict.py", "-k", "interrupt_and_resume"),
    ),
    Breakage(
        "damaged code on disk is loaded",
        "if checksum != _checksum(content):",
        "if not checksum:",
        ("tests/kernels/test_store.py", "-k", "damaged"),
    ),
    Breakage(
        "the two biases of torch change places",
        '    "bias_ih": "b",\n    "bias_hh": "d",\n',
        '    "bias_ih": "d",\n    "bias_hh": "b",\n',
        ("tests/torch/test_drop_in.py", "-k", "GRU"),
    ),
    Breakage(
        "the gates of Keras' GRU stand in torch's order",
        '"gru": ("z", "r", "n"),',
        '"gru": ("r", "z", "n"),',
        ("tests/keras/test_layers.py", "-k", "those_of_keras"),
    ),
    Breakage(
        "accuracy is the mean over classes",
        'MulticlassAccuracy(count, average="micro")',
        'MulticlassAccuracy(count, average="macro")',
        ("tests/tasks/test_labels.py",),
    ),
    Breakage(
        "threads sum the gradient of equal words in any order",
        "vectors.index_select(0, form.flatten()).unflatten(0, form.shape)",
        "vectors[form]",
        ("tests/tasks/test_tag.py", "-k", "several_threads"),
    ),
    Breakage(
        "packed weights are kept, whatever becomes of the parameters",
        "return found if found is not None and found.stamp == stamp else None",
        "return found",
        ("tests/torch/test_prepared_layers.py", "-k", "a_change_is_noticed and load_state_dict"),
    ),
    Breakage(
        "steps of fused optimisers go unnoticed",
        "return [_steps, *map(VERSION, tensors)]",
        "return [*map(VERSION, tensors)]",
        ("tests/torch/test_prepared_layers.py", "-k", "a_change_is_noticed and fused"),
    ),
    Breakage(
        "a mistake on the command line ends with 0",
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
    path = each.find(folder / "src/anyrnn")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(each.old, each.new), encoding="utf-8")
    code, said = run(folder, each.tests)
    path.write_text(text, encoding="utf-8")
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
        files = [each.find(folder / "src/anyrnn") for each in chosen]
        for each, path in zip(chosen, files, strict=True):
            noticed, said = check(each, folder)
            survived += not noticed
            print(f"{path.relative_to(folder)}: {each.what}: {said}", flush=True)
    print(f"{len(chosen)} breakages, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
