"""Time our layers on a GPU beside those of others: python -m benchmarks.gpu.

Each row is a cell, a shape (batch, time, input, hidden) and a type; its peers take turns, forward,
and forward and backward, each several times between two CUDA events; the table has the medians.
What a peer computes is compared with ours first, where it can be given our weights. A library that
is not installed is told and left out. The file has the card's name and all versions; another one
beside it, ending with .md, has the table for README.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from anyrnn.torch import GRU, LSTM, Recurrent
from anyrnn.torch.execute import forced

SHAPES = (  # batch, time, input, hidden
    (16, 1024, 768, 768),
    (16, 1024, 64, 64),
    (64, 100, 256, 256),
    (128, 64, 512, 512),
    (256, 35, 650, 650),
    (1, 1000, 256, 256),
    (32, 400, 1024, 1024),
)
CELLS = ("lstm", "gru", "lstm_peephole", "gru_reset_before", "sru", "mingru")
GATES = {"lstm": 4, "lstm_peephole": 4, "gru": 3, "gru_reset_before": 3, "sru": 3, "mingru": 3}
TYPES = {"float32": torch.float32, "tf32": torch.float32, "float16": torch.float16}
TYPES["bfloat16"] = torch.bfloat16
TOLERANCE = {"float32": 1e-4, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 6e-2}
DEVICE = "cuda"
WARM, LEAST = 3, 5  # calls before those that are timed, and of these
LOOPED = 128  # steps that torch.compile unrolls at most: compiling takes minutes beyond
LIBRARIES = ("torch", "triton", "anyrnn", "flashrnn", "torchrl")
Call = Callable[[Tensor], Tensor]


class MissingError(Exception):
    """A peer cannot compute a row; why."""


@dataclass(frozen=True)
class Case:
    """What a row is."""

    cell: str
    shape: tuple[int, ...]
    kind: str
    packed: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The type of all tensors."""
        return TYPES[self.kind]

    @property
    def lengths(self) -> Tensor:
        """The lengths of the sequences, from half of all steps on."""
        batch, time, *_ = self.shape
        return torch.linspace(max(time // 2, 1), time, batch).long()


def ours(case: Case) -> nn.Module:
    """Our layer of a case's cell, with weights that are the same in each call."""
    torch.manual_seed(0)
    _, _, features, hidden = case.shape
    own = {"lstm": LSTM, "gru": GRU}.get(case.cell)
    given = {"device": DEVICE, "dtype": case.dtype}
    return (
        own(features, hidden, **given) if own else Recurrent(case.cell, features, hidden, **given)
    )


def _lengths(case: Case) -> dict[str, Tensor]:
    return {"lengths": case.lengths} if case.packed else {}


def own_path(case: Case) -> Call:
    """Our layer on the path that it chooses."""
    layer, marks = ours(case), _lengths(case)
    return lambda x: layer(x, **marks)[0]


def ours_by(path: str, case: Case) -> Call:
    """Our layer on a path: `compiled` for our own kernels, `operations` for the loop of torch's."""
    layer, marks = ours(case), _lengths(case)

    def call(x: Tensor) -> Tensor:
        with forced(path):
            return layer(x, **marks)[0]

    return call


def cudnn(case: Case) -> Call:
    """torch.nn's layer; for a cell that it has not, the one with as many gates."""
    _, time, features, hidden = case.shape
    kind = nn.LSTM if GATES[case.cell] == 4 else nn.GRU
    layer = kind(features, hidden, device=DEVICE, dtype=case.dtype)
    if case.cell in ("lstm", "gru"):
        layer.load_state_dict(ours(case).state_dict())
    if not case.packed:
        return lambda x: layer(x)[0]

    def call(x: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, case.lengths, enforce_sorted=False)
        return pad_packed_sequence(layer(packed)[0], total_length=time)[0]

    return call


def compiled_loop(case: Case) -> Call:
    """A loop over the steps through torch.compile, which unrolls it."""
    if case.packed or case.cell not in ("lstm", "gru"):
        raise MissingError("the loop is written for LSTM and GRU without lengths")
    if case.shape[1] > LOOPED:
        raise MissingError(f"torch.compile unrolls {case.shape[1]} steps; more than {LOOPED}")
    layer = ours(case)
    w, u, b, d = (getattr(layer, f"{name}_l0") for name in NAMES)

    @torch.compile(dynamic=False, fullgraph=True)
    def loop(x: Tensor) -> Tensor:
        before, found = x @ w.t() + b, []
        h = c = x.new_zeros(x.shape[1], u.shape[1])
        for step in before.unbind():
            recurrent = h @ u.t() + d
            if case.cell == "lstm":
                i, f, g, o = (step + recurrent).chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            else:
                (r, z, n), (s, y, m) = step.chunk(3, -1), recurrent.chunk(3, -1)
                z = torch.sigmoid(z + y)
                h = z * h + (1 - z) * torch.tanh(n + torch.sigmoid(r + s) * m)
            found.append(h)
        return torch.stack(found)

    return loop


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingError(f"{name} cannot be imported ({error})") from error


def flashrnn(case: Case) -> Call:
    """FlashRNN's fused kernel, after torch's product with the input."""
    if case.packed or case.cell not in ("lstm", "gru"):
        raise MissingError("FlashRNN has LSTM and GRU, without lengths")
    if case.dtype is not torch.bfloat16:
        raise MissingError("FlashRNN's fused kernels are for bfloat16")
    run = _library("flashrnn").flashrnn
    *_, features, hidden = case.shape
    gates, made = GATES[case.cell], {"device": DEVICE, "dtype": case.dtype, "requires_grad": True}
    w = torch.randn(features, gates * hidden, **made)
    r = torch.randn(gates, 1, hidden, hidden, **made)
    b = torch.randn(gates, 1, hidden, **made)

    def call(x: Tensor) -> Tensor:
        wx = (x.transpose(0, 1) @ w).unflatten(-1, (gates, 1, hidden))
        states, _ = run(wx, r, b, function=case.cell, backend="cuda_fused")
        return states[0].flatten(-2).transpose(0, 1)

    return call


def torchrl(case: Case) -> Call:
    """TorchRL's Triton kernels."""
    if case.packed or case.cell not in ("lstm", "gru") or case.dtype is not torch.float32:
        raise MissingError("TorchRL's kernels are for LSTM and GRU in float32, without lengths")
    modules, tensordict = _library("torchrl.modules"), _library("tensordict")
    *_, features, hidden = case.shape
    kind = modules.LSTMModule if case.cell == "lstm" else modules.GRUModule
    given = {"in_key": "x", "out_key": "y", "recurrent_backend": "triton", "device": DEVICE}
    layer = kind(input_size=features, hidden_size=hidden, default_recurrent_mode=True, **given)

    def call(x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        first = torch.zeros(*x.shape[:2], 1, dtype=torch.bool, device=x.device)
        first[:, 0] = True
        found = layer(tensordict.TensorDict({"x": x, "is_init": first}, x.shape[:2]))
        return found["y"].transpose(0, 1)

    return call


PEERS = {
    "ours": own_path,
    "our kernels": partial(ours_by, "compiled"),
    "cuDNN": cudnn,
    "operations": partial(ours_by, "operations"),
    "torch.compile": compiled_loop,
    "FlashRNN": flashrnn,
    "TorchRL": torchrl,
}
SAME = ("our kernels", "operations", "torch.compile")  # what computes with our weights
TRAINED = {"forward": False, "forward and backward": True}


def call_of(made: Call, x: Tensor, trained: bool) -> Callable[[], Any]:
    """A call, with the gradients or without."""

    def forward() -> None:
        with torch.no_grad():
            made(x)

    def both() -> None:
        made(x).sum().backward()

    return both if trained else forward


def time_of(call: Callable[[], Any], seconds: float) -> list[float]:
    """The milliseconds of calls, by CUDA events."""
    for _ in range(WARM):
        call()
    found: list[float] = []
    while sum(found) < 1e3 * seconds or len(found) < LEAST:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end))
    return found


def _reason(error: Exception) -> str:
    """Why a peer is left out, in one line."""
    said = str(error) if isinstance(error, MissingError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:200]


def _check(case: Case, name: str, made: Call, reference: Call, x: Tensor) -> None:
    plain = name == "cuDNN" and case.cell in ("lstm", "gru")
    if name not in SAME and not plain:
        return
    with torch.no_grad():
        found, wanted = made(x).float(), reference(x).float()
    error = ((found - wanted).abs().max() / wanted.abs().max()).item()
    if not error <= TOLERANCE[case.kind]:
        raise MissingError(f"its numbers are wrong by {error:.1g} of the largest")


@contextmanager
def _precision(kind: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = kind == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def measure(case: Case, seconds: float, rounds: int, console: Console) -> dict[str, Any]:
    """A row: the median time of each peer, by turns, and why others have none."""
    batch, time, features, _ = case.shape
    row: dict[str, Any] = {**asdict(case), "milliseconds": {}, "missing": {}}
    with _precision(case.kind):
        torch.manual_seed(1)
        x = torch.randn(time, batch, features, device=DEVICE, dtype=case.dtype)
        ready: dict[str, Call] = {}
        for name, make in PEERS.items():
            try:
                made = make(case)
                _check(case, name, made, ready.get("ours") or made, x)
                for trained in TRAINED.values():
                    call_of(made, x.requires_grad_(trained), trained)()
                ready[name] = made
            except Exception as error:  # whatever a library raises
                row["missing"][name] = _reason(error)
        for mode, trained in TRAINED.items():
            times: dict[str, list[float]] = {name: [] for name in ready}
            x.requires_grad_(trained)
            for _, (name, made) in product(range(rounds), ready.items()):
                if name in row["missing"]:
                    continue
                try:
                    times[name] += time_of(call_of(made, x, trained), seconds / rounds)
                except Exception as error:  # no memory, say: others can be timed all the same
                    row["missing"][name] = _reason(error)
            done = {name: each for name, each in times.items() if name not in row["missing"]}
            row["milliseconds"][mode] = {name: median(each) for name, each in done.items()}
    for name, why in row["missing"].items():
        console.print(f"{_title(case)}: {name} left out: {why}", markup=False, soft_wrap=True)
    return row


def _title(case: Case) -> str:
    return f"{case.cell} {case.shape} {case.kind}{' with lengths' if case.packed else ''}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def table(about: Mapping[str, Any], rows: list[dict[str, Any]]) -> str:
    """The results in Markdown, as README has them: the card, and a line for each row and mode."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    titles = "cell", "batch, time, input, hidden", "type", "mode", *PEERS
    lines = [f"Milliseconds (medians) on {about['device']}, {about['date']}: {versions}.", ""]
    lines += [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in rows:
        kind = row["kind"] + (" with lengths" if row["packed"] else "")
        shape = ", ".join(map(str, row["shape"]))
        for mode, times in row["milliseconds"].items():
            cells = (f"{times[name]:.3f}" if name in times else "" for name in PEERS)
            lines.append(f"| {' | '.join((row['cell'], shape, kind, mode, *cells))} |")
    return "\n".join(lines) + "\n"


def _shape(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text}: expected four sizes, as in 16,1024,768,768")
    return tuple(map(int, numbers))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--shape", action="append", type=_shape, help="batch,time,input,hidden; repeatable")
    add("--cell", action="append", choices=CELLS, help="some cells only")
    add("--type", action="append", choices=[*TYPES], help="some types only")
    add("--seconds", type=float, default=0.5, help="of each peer in each row and mode")
    add("--rounds", type=int, default=5, help="how often the peers take turns")
    add("--output", type=Path, default=Path("runs/gpu-bench.json"), help="the file of results")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: torch.cuda.is_available() is False, so there is nothing to time")
        return 0
    console, rows = Console(), list[dict[str, Any]]()
    about = {
        "device": torch.cuda.get_device_name(),
        "capability": torch.cuda.get_device_capability(),
        "versions": _versions(),
        "date": date.today().isoformat(),
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    every = product(given.cell or CELLS, given.shape or SHAPES, given.type or TYPES, (False, True))
    for cell, shape, kind, packed in every:
        case = Case(cell, tuple(shape), kind, packed)
        with console.status(_title(case)) if console.is_terminal else nullcontext():
            rows.append(measure(case, given.seconds, given.rounds, console))
        text = json.dumps({**about, "rows": rows}, indent=1)
        given.output.write_text(text, encoding="utf-8")
        given.output.with_suffix(".md").write_text(table(about, rows), encoding="utf-8")
    print(table(about, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
