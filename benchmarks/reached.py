"""What a row says: rates and ratios, and the aims that it misses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from benchmarks.cases import (
    BFLOAT16,
    CUSTOM,
    INT8,
    LINEAR,
    MODES,
    NORM,
    OPTIONS,
    PLAIN,
    STANDARD,
    SUBNORMAL,
)
from benchmarks.measure import Row
from benchmarks.models import BACKENDS, MODEL_OPTIONS
from benchmarks.peers import (
    BASELINES,
    FLOOR,
    KERAS_TRAINING,
    LOOP_TRAINING,
    OUR_MODEL,
    OUR_PREPARED,
    OUR_TRAINING,
    OURS,
    OURS_PLAIN,
    PEERS,
    SGEMM,
    SGEMM_SIZE,
    THEIR_MODEL,
    TORCH_TRAINING,
)

LOOPS = ("torch loop", "torch.compile step", "torch.compile loop", "jax scan")
TORCH = ("torch.nn", "torch loop")
OTHER = "other"  # the cells of CUSTOM together

# the ratio in every row, and the geometric mean of the ratios
AIMS = {
    ("lstm", "inference"): (0.97, 1.2),
    ("lstm", "training"): (1.0, 1.2),
    ("gru", "inference"): (1.0, 1.5),
    ("gru", "training"): (1.2, 2.0),
    ("rnn", "inference"): (1.0, 1.5),
    ("rnn", "training"): (1.2, 2.0),
    **{(cell, mode): (1.0, 2.5) for cell in (*CUSTOM, OTHER) for mode in MODES},
    **{(cell, mode): (2.0, 2.0) for cell in LINEAR for mode in MODES},
}
SHARES = {"inference": 0.90, "training": 0.85}  # of the sgemm rate, where both are large enough:
BATCH, HIDDEN = 32, 128
STREAM = 0.020  # milliseconds for a step
# of layers with options: our time for a step that counts, in times of our plain layer; the fastest
# peer's time in times of ours; our time in times of products and a copy
STEP_AIMS = dict.fromkeys(product(OPTIONS, MODES), 1.15)
STEP_AIMS |= {(NORM, mode): 1.5 for mode in MODES}
STEP_AIMS |= {(SUBNORMAL, mode): 1.1 for mode in MODES}
STEP_AIMS |= {(BFLOAT16, "inference"): 1 / 1.6, (BFLOAT16, "training"): 1.0}
STEP_AIMS[INT8, "inference"] = 1 / 2.5
PEER_AIM, LINEAR_PEER_AIM, FLOOR_AIM = 3.0, 2.0, 1.5
MODEL_AIMS = {option: 1.3 if option == PLAIN else 2.5 for option in MODEL_OPTIONS}
THEIR_TRAININGS = (TORCH_TRAINING, LOOP_TRAINING)
KERAS_TRAININGS = tuple(KERAS_TRAINING.format(backend) for backend in BACKENDS)
TRAINING_AIMS = {"lstm": 1.0}  # of others:
TRAINING_AIM = 1.3
SLACK = 2**20  # bytes of memory: less than that is no difference


def milliseconds(row: Row, name: str) -> float | None:
    """The median of a peer in a row, if it has one."""
    quartiles = row["peers"].get(name, {}).get("quartiles")
    return quartiles[1] if quartiles else None


def fastest(row: Row, names: Iterable[str] = tuple(PEERS)) -> tuple[str, float] | None:
    """The fastest of some peers, and its milliseconds."""
    not_peers = OURS, OUR_PREPARED, *BASELINES
    times = {n: milliseconds(row, n) for n in names if n not in not_peers}
    return min(((n, t) for n, t in times.items() if t), key=lambda pair: pair[1], default=None)


def ratio(row: Row, names: Iterable[str] = tuple(PEERS), whose: str = OURS) -> float | None:
    """That of the fastest of some peers divided by our time, or by that of our prepared layer."""
    ours, found = milliseconds(row, whose), fastest(row, names)
    return found[1] / ours if ours and found else None


def best_ratio(row: Row, names: Iterable[str] = tuple(PEERS)) -> float | None:
    """The ratio that aims are about: that of the prepared layer, where it was measured."""
    return ratio(row, names, OUR_PREPARED) or ratio(row, names)


def share(row: Row) -> float | None:
    """Our rate in matrix products, divided by that of one large product."""
    ours, product = milliseconds(row, OURS), milliseconds(row, SGEMM)
    return row["operations"] / ours * product / (2 * SGEMM_SIZE**3) if ours and product else None


def memory(row: Row) -> tuple[int, int] | None:
    """The bytes that a call of ours and of torch's needs at its peak."""
    theirs = "torch.nn" if row["cell"] in STANDARD else "torch loop"
    ours, theirs = (row["peers"].get(name, {}).get("memory") for name in (OURS, theirs))
    return None if ours is None or theirs is None else (ours, theirs)


def misses(row: Row) -> dict[str, float]:
    """The kinds of aims that a row of plain layers misses, with what it reached."""
    found: dict[str, float] = {}
    (batch, time, _, hidden), mode = row["shape"], row["mode"]
    ours, reached, rate, used = milliseconds(row, OURS), best_ratio(row), share(row), memory(row)
    step = milliseconds(row, OUR_PREPARED) or ours
    if not ours or (reached and reached < AIMS[row["cell"], mode][0]):
        found["ratio"] = reached or 0.0  # 0 where ours failed
    if rate and batch >= BATCH and hidden >= HIDDEN and rate < SHARES[mode]:
        found["share"] = rate
    if used and used[0] > used[1] + SLACK:
        found["memory"] = used[0] / max(used[1], 1)
    if step and time == 1 and mode == "inference" and step > STREAM:
        found["stream"] = 1e3 * step
    return found


def rivals(cell: str, peers: Sequence[str] = tuple(PEERS)) -> list[str]:
    """Those of some peers that means are about: for a cell of one's own, what runs any cell."""
    return [name for name in peers if name in LOOPS or cell not in CUSTOM]


def ratios(
    rows: Iterable[Row],
    cell: str,
    mode: str,
    peers: Sequence[str] = tuple(PEERS),
    whose: str = OURS,
) -> list[float]:
    """The ratios of a cell in a mode to the rivals among some peers."""
    cells = CUSTOM if cell == OTHER else (cell,)
    of = [row for row in rows if row["cell"] in cells and row["mode"] == mode]
    found = (ratio(row, rivals(row["cell"], peers), whose) for row in of)
    return [number for number in found if number]


def to_plain(row: Row) -> float | None:
    """Our time for a step that counts, divided by that of our plain layer for a step."""
    ours, plain = milliseconds(row, OURS), milliseconds(row, OURS_PLAIN)
    return ours / row["real"] / plain if ours and plain else None


def to_floor(row: Row) -> float | None:
    """The time of a linear cell divided by that of its products and a copy."""
    ours, floor = milliseconds(row, OURS), milliseconds(row, FLOOR)
    return ours / floor if ours and floor else None


def _peer_aim(row: Row) -> float:
    """The least ratio; the other group of rows has that of plain layers."""
    if row["cell"] in LINEAR:
        return LINEAR_PEER_AIM
    return 0.0 if row["option"] in (PLAIN, BFLOAT16, INT8, SUBNORMAL) else PEER_AIM


def option_misses(row: Row) -> dict[str, float]:
    """The kinds of aims that a row of options misses, with what it reached."""
    step, floor, reached = to_plain(row), to_floor(row), ratio(row)
    found: dict[str, float] = {}
    if step and step > STEP_AIMS[row["option"], row["mode"]]:
        found["step"] = step
    if floor and floor > FLOOR_AIM:
        found["floor"] = floor
    if not milliseconds(row, OURS) or (reached and reached < _peer_aim(row)):
        found["ratio"] = reached or 0.0
    return found


def to_keras(row: Row, backend: str) -> float | None:
    """The time of Keras' own layer divided by that of ours."""
    ours, theirs = (milliseconds(row, of.format(backend)) for of in (OUR_MODEL, THEIR_MODEL))
    return theirs / ours if ours and theirs else None


def model_misses(row: Row) -> dict[str, float]:
    """The backends whose aim a row of models misses, with the ratio."""
    ratios = {backend: to_keras(row, backend) for backend in BACKENDS}
    return {name: n for name, n in ratios.items() if n and n < MODEL_AIMS[row["option"]]}


def to_training(row: Row, peers: Sequence[str] = THEIR_TRAININGS) -> float | None:
    """The time of a training on torch.nn or on a loop of torch, or by Keras on its fastest backend,
    divided by that of ours.
    """
    return ratio(row, peers, OUR_TRAINING)


def training_misses(row: Row) -> dict[str, float]:
    """The ratio, if a row of trainings misses its aim: beside torch, or beside Keras."""
    reached = [n for of in (THEIR_TRAININGS, KERAS_TRAININGS) if (n := to_training(row, of))]
    missed = reached and min(reached) < TRAINING_AIMS.get(row["cell"], TRAINING_AIM)
    return {"ratio": min(reached)} if missed else {}
