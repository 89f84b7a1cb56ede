"""Schedules that are broken in one place are refused, and so a pass that breaks one is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import anyrnn
from anyrnn import softmax
from anyrnn.errors import VerificationError
from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size
from anyrnn.schedule import build
from anyrnn.schedule.forms import FUSED, Policy, RowStage, Schedule, Stage
from anyrnn.schedule.residuals import step_schedules
from anyrnn.schedule.verify import verify_placement, verify_schedule
from anyrnn.transforms import transform
from anyrnn.transforms.dropout import with_recurrent_dropout
from invented_cells import INVENTED


def scheduled(name: str, policy: Policy = FUSED) -> Schedule:
    cell = {**anyrnn.CATALOGUE, **INVENTED}[name]
    return build.schedule(cell.graph, cell.states, [cell.output], policy)


def reverse(name: str) -> Schedule:
    return step_schedules(anyrnn.get(name)).reverse


def normed() -> Schedule:
    cell = transform(anyrnn.get("gru"), norm="layer")
    return build.schedule(cell.graph, cell.states, [cell.output], FUSED)


def stage(schedule: Schedule, place: int, **changes: object) -> Schedule:
    """A schedule with other fields of one stage."""
    stages = [*schedule.stages]
    stages[place] = replace(stages[place], **changes)
    return replace(schedule, stages=tuple(stages))


def of_state(schedule: Schedule) -> tuple[Node, ...]:
    """The products of a matrix and a state."""
    return tuple(
        node
        for node in schedule.loop
        if node.operation == "product" and node.arguments[1].operation == "state"
    )


PLACEMENTS: dict[str, tuple[Callable[[], Schedule], Callable[[Schedule], Schedule], str]] = {
    "no loop input": (
        lambda: scheduled("gru"),
        lambda s: replace(s, loop_inputs=()),
        "read before",
    ),
    "no matrix": (lambda: scheduled("gru"), lambda s: replace(s, once=s.once[1:]), "read before"),
    "a result is not emitted": (
        lambda: scheduled("gru"),
        lambda s: replace(s, emitted=()),
        "the result 'h', which is not there after the loop",
    ),
    "what is read after the loop is not emitted": (
        lambda: reverse("gru"),
        lambda s: replace(s, emitted=s.emitted[1:]),
        "read before it is there, by",
    ),
    "a product of a state before the loop": (
        lambda: scheduled("gru"),
        lambda s: replace(s, before=of_state(s)),
        "too early a phase",
    ),
    "twice in the loop": (
        lambda: scheduled("gru"),
        lambda s: replace(s, loop=(*s.loop, s.loop[0])),
        "computed twice",
    ),
    "before the loop and in it": (
        lambda: scheduled("gru", Policy()),
        lambda s: replace(s, loop=(*s.before, *s.loop), loop_inputs=(*s.loop_inputs, *inputs(s))),
        "computed in two sections",
    ),
    "before its operands": (
        lambda: scheduled("gru"),
        lambda s: replace(s, loop=s.loop[::-1]),
        "read before it is there",
    ),
    "a new state is not computed": (
        lambda: scheduled("rnn_output"),
        lambda s: replace(s, loop=(), loop_inputs=(), emitted=()),
        "a new state that is not computed",
    ),
    "a loop input that nobody reads": (
        lambda: scheduled("gru", Policy()),
        lambda s: replace(s, loop_inputs=(*s.loop_inputs, *inputs(s))),
        "that the loop does not read",
    ),
}


def inputs(schedule: Schedule) -> list[Node]:
    return schedule.graph.leaves("input")


STAGES: dict[str, tuple[Callable[[], Schedule], Callable[[Schedule], Schedule], str]] = {
    "not stored for the next stage": (
        lambda: scheduled("gru_reset_before"),
        lambda s: stage(s, 0, stores=s.stages[0].stores[1:]),
        "complete in memory",
    ),
    "a state is not stored": (
        lambda: scheduled("gru"),
        lambda s: replace(s, stages=()),
        "a state or result that no stage stores",
    ),
    "stages in another order": (
        lambda: scheduled("gru_reset_before"),
        lambda s: replace(s, stages=s.stages[::-1]),
        "in a stage that comes too late",
    ),
    "no barrier between two stages": (
        lambda: scheduled("gru_reset_before"),
        lambda s: stage(s, 1, level=0),
        "multiplied before it is complete in memory",
    ),
    "a term is missing": (
        lambda: scheduled("lstm"),
        lambda s: stage(s, 0, accumulators=shortened(s.stages[0])),
        "not the sum of the terms",
    ),
    "a sum is missing": (
        lambda: scheduled("lstm"),
        lambda s: stage(s, 0, accumulators=units(s.stages[0]).accumulators[1:]),
        "read by a stage before it is complete",
    ),
    "a sum twice": (
        lambda: scheduled("lstm"),
        lambda s: stage(s, 0, accumulators=units(s.stages[0]).accumulators * 2),
        "computed by 2 accumulators",
    ),
    "another size": (
        lambda: scheduled("rnn_output"),
        lambda s: stage(s, 0, accumulators=(), size=Size.of("output")),
        "of another size than its stage",
    ),
    "stored twice": (
        lambda: scheduled("gru_reset_before"),
        lambda s: stage(s, 1, stores=(*s.stages[1].stores, s.stages[0].stores[0])),
        "stored by two stages",
    ),
    "a mean is missing": (
        normed,
        lambda s: stage(s, rows(s), reductions=one_less(s)),
        "read by a stage before it is complete",
    ),
    "a part of joined vectors is missing": (
        lambda: scheduled("joined"),
        lambda s: replace(s, stages=s.stages[1:]),
        "a part of joined vectors that no stage stores",
    ),
}


def units(stage: Stage | RowStage) -> Stage:
    assert isinstance(stage, Stage)
    return stage


def shortened(whole: Stage | RowStage) -> tuple[object, ...]:
    first, *others = units(whole).accumulators
    return (replace(first, terms=first.terms[1:]), *others)


def rows(schedule: Schedule) -> int:
    return next(n for n, stage in enumerate(schedule.stages) if isinstance(stage, RowStage))


def one_less(schedule: Schedule) -> tuple[Node, ...]:
    found = schedule.stages[rows(schedule)]
    assert isinstance(found, RowStage)
    return found.reductions[1:]


@pytest.mark.parametrize("kind", PLACEMENTS)
def test_a_broken_placement_is_refused(kind: str) -> None:
    make, change, message = PLACEMENTS[kind]
    whole = make()
    verify_placement(whole)
    with pytest.raises(VerificationError, match=message):
        verify_placement(change(whole))


@pytest.mark.parametrize("kind", STAGES)
def test_broken_stages_are_refused(kind: str) -> None:
    make, change, message = STAGES[kind]
    whole = make()
    verify_schedule(whole)
    with pytest.raises(VerificationError, match=message):
        verify_schedule(change(whole))


def test_in_the_tests_a_pass_that_breaks_a_schedule_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = build.place
    monkeypatch.setattr(build, "place", lambda *given: replace(place(*given), emitted=()))
    with pytest.raises(VerificationError, match="the result 'h'"):
        scheduled("gru")


@pytest.mark.parametrize("name", ["article3_lstm", "article3_gru"])
def test_joined_vectors_are_complete_before_elementwise_work_reads_them(name: str) -> None:
    """With dropout m * [h, x]: the parts lie elsewhere in [h, x] than the units of a thread."""
    planned = step_schedules(with_recurrent_dropout(anyrnn.get(name), 0.3))
    verify_schedule(planned.forward)
    levels = {node: stage.level for stage in planned.forward.stages for node in stage.stores}
    for node, level in levels.items():
        for argument in node.arguments if node.traits.pointwise else ():
            if argument.operation == "concatenate":
                assert level > max(levels[part] for part in argument.arguments)


@anyrnn.cell
def known_state(x, h, *, W):
    """The new state is known before the loop, which carries it all the same."""
    return softmax(W @ x)


def test_a_carried_result_may_be_computed_twice() -> None:
    verify_placement(build.schedule(known_state.graph, ("h",), ["h"], FUSED))
