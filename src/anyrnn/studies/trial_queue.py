"""The trials of a study in Optuna's storage: planned, retried after a kill, and recorded."""

import json
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from anyrnn.studies.trials import TrialPlan, TrialRecord

MOST_ATTEMPTS = 3
"""How often a trial is tried whose process is killed meanwhile."""

PLAN, NUMBER, RETRY_OF, ATTEMPT, WORKER = "plan", "number", "retry of", "attempt", "worker"
SURPLUS = "surplus"
"""User attributes of Optuna's trials. What was killed is tried again as another of them."""

OUTCOMES = {
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,  # its options count as bad ones
    "failed": TrialState.FAIL,  # its options say nothing
}
"""What Optuna calls what became of a trial that was not finished."""

_RECORD = "record"
_LONGEST = 30_000  # characters of an attribute, for MySQL


def put_text(put: Any, name: str, value: object) -> None:
    """Keep a value as attributes that are short enough for every database."""
    text = json.dumps(value)
    for part, start in enumerate(range(0, len(text), _LONGEST)):
        put(f"{name}:{part}", text[start : start + _LONGEST])


def text_in(attributes: dict[str, Any], name: str) -> Any:
    """The value that `put_text` kept, or `None`."""
    parts = []
    while f"{name}:{len(parts)}" in attributes:
        parts.append(attributes[f"{name}:{len(parts)}"])
    try:
        return json.loads("".join(parts)) if parts else None
    except ValueError:  # the process was killed between two parts
        return None


def worker_name(process: int) -> str:
    """What a process of this machine is called among all that train."""
    return f"{socket.gethostname()}:{process}"


def trials_of(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """Optuna's trials, in their order; by default of all states."""
    return study.get_trials(deepcopy=False, states=states or None)


def number_of(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> int:
    """The number of a trial in the study: those that are tried again keep theirs."""
    if NUMBER in trial.user_attrs:
        return trial.user_attrs[NUMBER]
    before = (each for each in trials_of(study) if each.number < trial.number)
    return sum(_is_original(each) for each in before)


def count(study: optuna.Study) -> int:
    """The number of trials, however often each was tried."""
    return sum(map(_is_original, trials_of(study)))


def waiting(study: optuna.Study) -> int:
    """The number of trials that wait to be trained."""
    return len(trials_of(study, TrialState.WAITING))


def enqueue(study: optuna.Study, plans: Iterable[TrialPlan]) -> None:
    """Plan trials, but for those that are planned already."""
    known = {each.user_attrs.get(PLAN) for each in trials_of(study)}
    for plan in plans:
        if plan.key not in known:
            study.enqueue_trial({}, user_attrs={PLAN: plan.key})
            known.add(plan.key)


def plan_in(trial: FrozenTrial | optuna.Trial) -> TrialPlan | None:
    """What a trial that was enqueued is to train."""
    key = trial.user_attrs.get(PLAN)
    return TrialPlan(**json.loads(key)) if key is not None else None


def requeue(study: optuna.Study, trial: FrozenTrial, *, killed: bool) -> None:
    """Try a trial again that was not trained to the end, with the same values.

    Args:
        study: Its study.
        trial: The trial; it runs no more.
        killed: Whether its process was killed, which is not tried for ever.
    """
    attributes = trial.user_attrs
    attempt = attributes.get(ATTEMPT, 1) + killed
    if attempt > MOST_ATTEMPTS:
        return
    kept = {PLAN: attributes[PLAN]} if PLAN in attributes else {}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={
                **kept,
                NUMBER: number_of(study, trial),
                RETRY_OF: trial.number,
                ATTEMPT: attempt,
            },
            system_attrs={
                name: value for name, value in trial.system_attrs.items() if name == "fixed_params"
            },
            intermediate_values=trial.intermediate_values,
        )
    )


def requeue_lost(study: optuna.Study, workers: Iterable[str] | None, *, killed: bool) -> int:
    """Try trials again whose process is no more.

    Args:
        study: The study.
        workers: The names of the processes that are no more; without them, of all.
        killed: Whether they were killed.

    Returns:
        How many there were.
    """
    gone = None if workers is None else set(workers)
    every = trials_of(study)
    retried = {each.user_attrs.get(RETRY_OF) for each in every}
    found = 0
    for trial in every:
        ended = trial.state in (TrialState.WAITING, TrialState.COMPLETE, TrialState.PRUNED)
        if ended or trial.number in retried or _is_told(trial):
            continue
        if gone is None or trial.user_attrs.get(WORKER) in gone:
            values = text_in(trial.user_attrs, _RECORD)
            if values is not None:  # it was killed when all was done
                tell(study, trial.number, TrialRecord(**values))
                continue
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            requeue(study, trial, killed=killed)
            found += 1
    return found


def keep_record(trial: optuna.Trial, record: TrialRecord) -> None:
    """Keep what became of a trial, for all machines."""
    put_text(trial.set_user_attr, _RECORD, record.plain())


def tell(study: optuna.Study, number: int, record: TrialRecord) -> None:
    """Let Optuna know what became of one of its trials."""
    if record.state == "finished":
        study.tell(number, record.deciding, skip_if_finished=True)
    else:
        study.tell(number, state=OUTCOMES[record.state], skip_if_finished=True)


def records(study: optuna.Study) -> list[TrialRecord]:
    """What became of the trials that were trained, in the order of their numbers."""
    return sorted(_records(study), key=lambda record: record.number)


def _records(study: optuna.Study) -> Iterator[TrialRecord]:
    every = trials_of(study)
    retried = {each.user_attrs.get(RETRY_OF) for each in every}
    for trial in every:
        values = text_in(trial.user_attrs, _RECORD)
        given_up = trial.user_attrs.get(ATTEMPT, 1) >= MOST_ATTEMPTS
        if values is not None and trial.state.is_finished():
            yield TrialRecord(**values)
        elif given_up and trial.state == TrialState.FAIL and trial.number not in retried:
            yield _killed(study, trial)


def _killed(study: optuna.Study, trial: FrozenTrial) -> TrialRecord:
    """The record of a trial that was tried as often as it may be."""
    plan = plan_in(trial) or TrialPlan("", 0, trial.params)
    reason = f"its process was killed {MOST_ATTEMPTS} times"
    return TrialRecord(
        number_of(study, trial),
        plan.cell,
        plan.seed,
        dict(plan.changes),
        plan.purpose,
        "failed",
        reason,
    )


def _is_original(trial: FrozenTrial) -> bool:
    return RETRY_OF not in trial.user_attrs and SURPLUS not in trial.user_attrs


def _is_told(trial: FrozenTrial) -> bool:
    """Whether all is told of a trial that failed."""
    recorded = text_in(trial.user_attrs, _RECORD) is not None
    return SURPLUS in trial.user_attrs or (recorded and trial.state == TrialState.FAIL)


def gone_workers(study: optuna.Study) -> list[str]:
    """The processes of this machine that took trials and are no more."""
    names = {each.user_attrs[WORKER] for each in trials_of(study) if WORKER in each.user_attrs}
    processes = {name: int(name.rpartition(":")[2]) for name in names}
    return [
        name
        for name, process in processes.items()
        if name == worker_name(process) and not _lives(process)
    ]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
