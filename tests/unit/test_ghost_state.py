"""What the agent believes of a ghost: nothing of a replay is kept before it is proved."""

import pytest

from vaultlayer_agent import ghost as gh
from vaultlayer_agent.capture import HookEvent
from vaultlayer_agent.ghost import Ghost, Phase
from vaultlayer_agent.process import Ending


def said(
    kind: str, step: int | None = None, detail: str = "", pid: int = 1, **meta: str
) -> HookEvent:
    return HookEvent(kind=kind, framework="ghost", step=step, detail=detail, pid=pid, meta=meta)


def through(ghost: Ghost, *events: HookEvent) -> Ghost:
    for event in events:
        ghost = gh.hear(ghost, event)
    return ghost


REPLAYED = (said("replay", 40), said("live", 40))


def test_a_recording_holds_only_with_a_snapshot():
    ghost = through(gh.begin(records=True, replays=False), said("ghost", detail="recording"))
    assert ghost.phase is Phase.RECORDING
    assert not ghost.holds
    assert not ghost.is_unproved


def test_a_replay_is_unproved_until_all_values_were_compared():
    ghost = gh.begin(records=True, replays=True)
    for event in REPLAYED:
        ghost = gh.hear(ghost, event)
        assert ghost.is_unproved
    ghost = gh.hear(ghost, said("verified", 50, equal="12", of="12"))
    assert not ghost.is_unproved
    assert ghost.holds
    assert gh.proof_of(ghost) == "verified, 12 of 12 values equal"


def test_values_that_are_only_near_are_told():
    ghost = through(gh.begin(records=True, replays=True), *REPLAYED)
    ghost = gh.hear(ghost, said("verified", 50, equal="10", of="12", near="2"))
    assert "10 of 12 values equal, 2 within 1 %" in gh.proof_of(ghost)


def test_every_rank_must_have_compared_its_values():
    ghost = gh.begin(records=True, replays=True)
    events = [
        HookEvent(kind=kind, pid=pid, step=40, world=2, meta={"equal": "3", "of": "3"})
        for kind in ("replay", "live", "verified")
        for pid in (1, 2)
    ]
    ghost = through(ghost, *events[:-1])
    assert ghost.is_unproved
    ghost = gh.hear(ghost, events[-1])
    assert (ghost.phase, ghost.equal) == (Phase.RECORDING, 6)


@pytest.mark.parametrize("before", [(), REPLAYED[:1], REPLAYED])
def test_a_divergence_falls_wherever_it_comes(before: tuple[HookEvent, ...]):
    ghost = through(gh.begin(records=True, replays=True), *before, said("diverged", 9, "why"))
    assert (ghost.phase, ghost.reason) == (Phase.FALLEN, "why")
    assert gh.hear(ghost, said("live", 40)) == ghost, "and stays fallen"


@pytest.mark.parametrize("status", [0, 1, 121, 137])
def test_a_script_that_ends_in_its_replay_has_fallen_whatever_its_status(status: int):
    ghost = gh.begin(records=True, replays=True)
    assert gh.ended(ghost, Ending(status), stopped=False).phase is Phase.FALLEN
    assert gh.ended(ghost, Ending(status), stopped=True).phase is Phase.REPLAYING


def test_after_going_live_only_the_reserved_status_is_a_fall():
    ghost = through(gh.begin(records=True, replays=True), *REPLAYED)
    assert gh.ended(ghost, Ending(0), stopped=False).phase is Phase.LIVE
    assert gh.ended(ghost, Ending(121), stopped=False).phase is Phase.FALLEN


def test_the_reserved_status_of_a_script_that_replays_nothing_is_its_own():
    ghost = through(gh.begin(records=True, replays=False), said("ghost"))
    assert gh.ended(ghost, Ending(121), stopped=False) == ghost


def test_a_ghost_that_is_off_says_why_and_in_a_replay_it_is_a_fall():
    ghost = through(
        gh.begin(records=True, replays=False), said("ghost"), said("ghost_off", detail="x")
    )
    assert (ghost.phase, ghost.reason) == (Phase.OFF, "x")
    ghost = through(gh.begin(records=True, replays=True), said("ghost_off", detail="x"))
    assert ghost.phase is Phase.FALLEN
