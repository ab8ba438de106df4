"""By which way a job goes on, and what comes after a replay that diverged."""

from vaultlayer.messages import CheckpointRef
from vaultlayer_agent.way import Choice, Kind, Way, choose_way, next_way, number_in, spell_ref

HEAD = CheckpointRef(manifest="h" * 64, key="jobs/j/a1/manifests/h.json", step=70)
BEFORE = CheckpointRef(manifest="b" * 64, key="jobs/j/a1/manifests/b.json")
GHOST = {"framework": "ghost", "ghost_number": "3"}


def test_a_ghost_checkpoint_is_replayed():
    way = choose_way(HEAD, GHOST, Choice())
    assert way == Way(kind=Kind.REPLAY, source=HEAD, number=3)


def test_a_checkpoint_made_while_a_ghost_holds_leads_to_the_ghosts_own():
    way = choose_way(HEAD, {"framework": "torch", **spell_ref(BEFORE)}, Choice())
    assert way == Way(kind=Kind.REPLAY, source=BEFORE)


def test_the_trainers_own_checkpoint_is_native_and_the_ghost_is_off():
    way = choose_way(HEAD, {"framework": "hf", **spell_ref(BEFORE)}, Choice())
    assert way == Way(kind=Kind.NATIVE, source=HEAD, records=False)


def test_without_a_ghost_nothing_is_replayed():
    way = choose_way(HEAD, GHOST, Choice(ghost=False))
    assert way == Way(kind=Kind.NATIVE, source=HEAD, records=False)


def test_a_lone_file_may_be_loaded_or_not_so_the_run_is_recorded():
    assert choose_way(HEAD, {"framework": "torch"}, Choice()).records
    assert not choose_way(HEAD, {"framework": "torch"}, Choice(resume_args=True)).records
    assert not choose_way(HEAD, {"framework": "lightning"}, Choice()).records


def test_a_failed_replay_goes_back_one_snapshot_then_down_and_never_round():
    failed = choose_way(HEAD, GHOST, Choice())
    second = next_way(failed, 1, {**GHOST, **spell_ref(BEFORE)}, HEAD, is_native=True)
    assert second == Way(kind=Kind.REPLAY, source=BEFORE)
    older = CheckpointRef(manifest="o" * 64, key="k")
    third = next_way(second, 2, {**GHOST, **spell_ref(older)}, HEAD, is_native=True)
    assert third == Way(kind=Kind.NATIVE, source=HEAD, records=False)


def test_with_nothing_of_the_scripts_own_it_starts_at_zero_and_is_recorded_anew():
    failed = choose_way(HEAD, GHOST, Choice())
    assert next_way(failed, 1, GHOST, HEAD, is_native=False) == Way()
    assert Way().records


def test_a_number_that_is_none_is_none():
    assert number_in({"ghost_number": "x"}) == 0
    assert number_in({}) == 0
