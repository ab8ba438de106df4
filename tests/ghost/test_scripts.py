"""Scripts that never save: bare, hooked, and killed twice and replayed; all leave the same bytes."""

from pathlib import Path

import pytest

from ghosts import SCRIPTS, Ghost, final_lines, skip_without, through_deaths

pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.timeout(1500)]
ROWS = Path(__file__).parents[1] / "matrix" / "scripts"


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("classifier", 45, 85),
        ("gan", 45, 85),
        ("lbfgs", 25, 47),
        ("hand_written", 45, 85),
        ("value_shapes", 45, 85),
        ("attack", 45, 85),
        ("shared_memory", 45, 65),
        ("odd_forms", 45, 85),
        ("compiled", 45, 85),
        ("own_compiled", 45, 85),
        ("compiled_counts", 25, 45),
        ("penalty", 45, 85),
        ("two_streams", 45, 85),
        ("worker_batches", 45, 85),
        ("mixed_precision", 45, 90),
        ("language_model", 45, 90),
        ("caught_errors", 45, 85),
        ("left_by_forward", 45, 85),
        ("step_hooks", 45, 95),
        ("wrapped_optimizer", 45, 85),
        ("kept_by_hooks", 45, 85),
        ("counted_beside", 45, 95),
        ("drawn_in_both", 45, 85),
        ("backward_hooks", 45, 85),
        ("growing_dataset", 26, 85),
        ("uneven_iterators", 45, 85),
        ("state_emptied", 45, 85),
        ("sparse_graph", 45, 85),
        ("own_targets", 45, 85),
        ("endless_loader", 45, 85),
        ("told_by_id", 45, 85),
        ("by_address", 45, 85),
        ("kept_gradients", 45, 85),
        ("recomputed", 45, 85),
        ("memos", 45, 85),
        ("twin_arrays", 45, 78),
        ("cached", 45, 85),
        ("counting_fetches", 25, 45),
        ("functional", 45, 85),
        ("derivatives", 24, 100),
        ("weighted", 35, 65),
        ("raw_weights", 45, 85),
        ("fetches_by_globals", 35, 65),
        ("twin_classes", 45, 85),
        ("drawn_from_views", 45, 77),
    ],
)
def test_a_script_resumes_exactly_through_two_deaths(
    tmp_path: Path, name: str, first: int, second: int
) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / f"{name}.py"), first, second)


def test_what_only_a_class_of_a_module_keeps_is_named(tmp_path: Path) -> None:
    """A parametrized module's class keeps it while a copy lives, as in each training but the first."""
    last = through_deaths(Ghost(tmp_path, SCRIPTS / "folds_of_averages.py"), 75, 105)
    assert int(last.meta("live")["steps"]) > 80
    assert not last.told("snapshot_void"), last.told("snapshot_void")


@pytest.mark.parametrize("kind", ["fit", "train_step", "loop", "torch_optim"])
def test_keras_on_torch_resumes_exactly_through_two_deaths(tmp_path: Path, kind: str) -> None:
    skip_without("keras")
    through_deaths(Ghost(tmp_path, SCRIPTS / "keras_kinds.py", kind), 45, 75)


def test_tensors_that_leave_as_bytes_are_there_again(tmp_path: Path) -> None:
    """Only what is saved below the working directory is in the image of a snapshot's files."""
    outside = tmp_path / "out"
    outside.mkdir()
    script = SCRIPTS / "left_as_bytes.py"
    ghost = Ghost(tmp_path, script, every="5steps", OUTSIDE=str(outside), TMPDIR=str(outside))
    through_deaths(ghost, 45, 85)


@pytest.mark.parametrize(
    ("words", "every", "first", "second"),
    [(("100",), "10steps", 45, 85), (("40", "wide"), "5steps", 24, 37)],
)
def test_gradients_that_the_script_keeps_are_there_again(
    tmp_path: Path, words: tuple[str, ...], every: str, first: int, second: int
) -> None:
    """Those of many parameters are not saved where they are only cleared."""
    through_deaths(
        Ghost(tmp_path, SCRIPTS / "gradients_of_tasks.py", *words, every=every), first, second
    )


def test_an_optimizer_whose_parameters_are_replaced_keeps_its_snapshots(tmp_path: Path) -> None:
    last = through_deaths(
        Ghost(tmp_path, SCRIPTS / "other_parameters.py", every="30steps"), 140, 255
    )
    assert int(last.meta("live")["steps"]) > 200


def test_values_that_come_late_are_compared_all_the_same(tmp_path: Path) -> None:
    """A GPU's losses are written down some steps later; those on their way at a snapshot belong before it."""
    through_deaths(Ghost(tmp_path, SCRIPTS / "classifier.py", VAULTLAYER_GHOST_LATE="1"), 47)


def test_a_script_without_a_seed_goes_on_as_the_dead_run_did(tmp_path: Path) -> None:
    ghost = Ghost(tmp_path, SCRIPTS / "unseeded.py")
    first = ghost.attempt(die_at=60)
    assert first.status == -9
    last = ghost.attempt(replay=True)
    assert last.status == 0, last.output
    verified = last.meta("verified")
    assert int(verified["of"]) > 0
    assert verified["equal"] == verified["of"]


@pytest.mark.parametrize("name", ["by_chance", "measures"])
def test_dates_unseeded_streams_and_the_figures_of_a_machine_come_again(
    tmp_path: Path, name: str
) -> None:
    if name == "measures":
        skip_without("psutil")
    ghost = Ghost(tmp_path, SCRIPTS / f"{name}.py")
    assert ghost.attempt(die_at=45).status == -9
    assert ghost.attempt(replay=True, die_at=85).told("live")
    last = ghost.attempt(replay=True)
    assert last.status == 0, last.output
    assert last.meta("verified")["equal"] == last.meta("verified")["of"]
    [log] = [content for name, content in ghost.files().items() if name.endswith("log.txt")]
    assert [line.split()[0] for line in log.splitlines()] == [b"%d" % n for n in range(100)]


def test_a_changed_script_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_bytes((SCRIPTS / "classifier.py").read_bytes())
    ghost = Ghost(tmp_path, script)
    assert ghost.attempt(die_at=45).status == -9
    script.write_text(script.read_text() + "\n# changed\n")
    refused = ghost.attempt(replay=True)
    assert refused.status == 121
    assert "script is not what it was" in refused.told("diverged")[0]["detail"]


def test_a_replay_that_cannot_be_set_up_does_not_run_the_script(tmp_path: Path) -> None:
    ghost = Ghost(tmp_path, SCRIPTS / "classifier.py")
    assert ghost.attempt(die_at=45).status == -9
    ended = ghost.attempt(replay=True, every="so many s")
    assert ended.status == 121, ended.output
    assert "cannot be set up" in ended.told("diverged")[0]["detail"]
    assert not final_lines(ended)


def test_ranks_that_torchrun_starts_resume_exactly_through_two_deaths(tmp_path: Path) -> None:
    script = ROWS / "ddp_gloo.py"
    through_deaths(Ghost(tmp_path, script, every="40steps", ranks=2), 90, 150)


def test_a_log_tail_that_disagrees_ends_the_attempt(tmp_path: Path) -> None:
    """The tail is of a run whose data differ: what is computed after going live is not what was."""
    ghost = Ghost(tmp_path, SCRIPTS / "classifier.py", NOISE="0")
    assert ghost.attempt(die_at=47).status == -9
    other = Ghost(tmp_path, SCRIPTS / "classifier.py", NOISE="1")
    ended = other.attempt(replay=True)
    assert ended.status == 121
    assert "after going live" in ended.told("diverged")[0]["detail"]


def test_a_graph_that_is_needed_later_voids_the_snapshot(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "old_graph.py").attempt()
    assert run.status == 0, run.output
    assert not run.told("snapshot_end")
    assert "older than the boundary" in run.told("snapshot_void")[0]["detail"]


NOTICE = {"kind": "notice", "grace_s": 300.0}


def test_no_notice_makes_a_snapshot_good_that_was_not_proved(tmp_path: Path) -> None:
    # A run that is to die waits for its disk, so that every snapshot is judged at the step after it.
    run = Ghost(tmp_path, SCRIPTS / "late_graph.py").attempt(die_at=100, say=[NOTICE])
    assert run.status == -9, run.output
    assert run.told("snapshot_void")
    assert not run.told("snapshot_end")


def test_under_notice_a_snapshot_at_a_proven_place_is_announced_at_once(tmp_path: Path) -> None:
    ghost = Ghost(tmp_path, SCRIPTS / "classifier.py", every="2steps")
    plain = ghost.attempt(die_at=85)
    hurried = ghost.attempt(die_at=85, say=[NOTICE])
    counts = [len(run.told("snapshot_end")) for run in (plain, hurried)]
    assert counts[1] > 2 * counts[0] > 0, counts
    last = ghost.attempt(replay=True)
    assert last.status == 0, last.output
    verified = last.meta("verified")
    assert verified["equal"] == verified["of"]


def test_a_tensor_that_nothing_names_voids_the_snapshot(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "hidden_tensor.py").attempt()
    assert run.status == 0, run.output
    assert not run.told("snapshot_end")
    assert "unreachable tensor" in run.told("snapshot_void")[0]["detail"]


def test_an_operand_that_waits_for_a_whole_step_voids_the_snapshot(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "operand.py").attempt()
    assert run.status == 0, run.output
    assert not run.told("snapshot_end")
    assert "unreachable tensor" in run.told("snapshot_void")[0]["detail"]


def test_a_buffer_over_what_only_arrays_hold_voids_the_snapshot(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "twin_views.py").attempt()
    assert run.status == 0, run.output
    assert not run.told("snapshot_end")
    assert "share the memory of a tensor" in run.told("snapshot_void")[0]["detail"]


def test_nothing_of_a_snapshot_outlives_it(tmp_path: Path) -> None:
    # A run that is to die, even later than ever, waits for its disk: so there is a snapshot after step 30.
    run = Ghost(tmp_path, SCRIPTS / "nothing_kept.py").attempt(die_at=10_000)
    assert run.told("snapshot_end")
    assert run.told("snapshot_void")
    assert "KEPT [] True" in run.output


def test_a_tensor_that_dlpack_hands_out_ends_the_recording(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "handed_out.py").attempt()
    assert run.status == 0, run.output
    assert not run.told("snapshot_end")
    assert "DLPack" in run.told("ghost_off")[0]["detail"]


def test_a_sampler_that_does_not_draw_again_what_it_drew_ends_the_replay(tmp_path: Path) -> None:
    """Long lists of a sampler are not written down at each epoch, so a change in them can only be told."""
    ghost = Ghost(tmp_path, SCRIPTS / "weighted.py", "lists")
    assert ghost.attempt(die_at=40).status == -9
    ended = ghost.attempt(replay=True)
    assert ended.status == 121, ended.output
    assert "does not give again" in ended.told("diverged")[0]["detail"]


def test_a_thread_that_fetches_ahead_voids_the_snapshot(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "prefetch.py").attempt()
    assert run.status == 0, run.output
    assert not run.told("snapshot_end")
    assert "the thread 'fetcher' holds tensors" in run.told("snapshot_void")[0]["detail"]


def test_an_optimizer_in_another_thread_ends_the_recording(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "thread_steps.py").attempt()
    assert run.status == 0, run.output
    assert not run.told("snapshot_end")
    assert "another thread" in run.told("ghost_off")[0]["detail"]


def test_ranks_count_a_snapshot_that_one_of_them_voids(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "uneven_ranks.py", ranks=2).attempt()
    assert run.status == 0, run.output
    assert {event["step"] for event in run.told("snapshot_void")} == {10}
    numbers = [(event["step"], event["meta"]["number"]) for event in run.told("snapshot_end")]
    assert sorted(numbers)[1:] == [(20, "2"), (20, "2"), (30, "3"), (30, "3"), (40, "4"), (40, "4")]


def test_a_replay_tells_the_world_nothing_twice(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    ghost = Ghost(tmp_path, SCRIPTS / "reaching_out.py", OUTSIDE=str(out))
    bare = ghost.bare()
    assert bare.status == 0, bare.output
    for path in out.iterdir():
        path.unlink()
    assert ghost.attempt(die_at=45).status == -9
    assert ghost.attempt(replay=True, die_at=85).told("live")
    last = ghost.attempt(replay=True)
    assert last.status == 0, last.output
    assert final_lines(last) == final_lines(bare)
    beyond = {*range(29, 45), *range(69, 85)}
    for name, wanted in (
        ("wandb", range(100)),
        ("commands", tens := range(7, 100, 10)),
        ("system", tens),
    ):
        told = [int(line) for line in (out / name).read_text().split()]
        assert set(told) == set(wanted)
        # What a dead run told beyond its snapshot is told again by who goes on from there.
        assert {step for step in told if told.count(step) > 1} <= beyond, name
    parts = [content for name, content in ghost.files().items() if "tfevents" in name]
    steps = [int(word) for part in parts for word in part.split() if word != b"begin"]
    assert sorted(steps) == list(range(100))


def test_a_process_that_runs_on_beside_the_loop_ends_the_recording(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "leaves_running.py").attempt()
    assert run.status == 0, run.output
    assert not run.told("snapshot_end")
    assert "starts a process" in run.told("ghost_off")[0]["detail"]
