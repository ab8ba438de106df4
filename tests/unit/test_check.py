"""A check's own judgement: traces compared, failures told apart, and the bare run of real small scripts."""

import struct
import sys
from pathlib import Path

import pytest

from histories import History
from vaultlayer.errors import CheckError
from vaultlayer_cli.check.bare import Bare, copy_out, failure, run_bare
from vaultlayer_cli.check.snapshot import found_of
from vaultlayer_cli.check.trace import (
    RECORD,
    Tally,
    Trace,
    compare,
    decode,
    devices_in,
    place_in,
    ranks_in,
    read_trace,
    snapshot_steps,
    spread,
    stall_s,
    step_s,
)
from vaultlayer_cli.check.verdict import (
    DIFFERS,
    EXACT,
    UNKNOWN,
    ZERO,
    Found,
    judge,
    lines_of,
    not_covered,
    recorded_in,
)
from vaultlayer_cli.workdir import Workdir, scan

MS = 1_000_000
BEFORE = Trace(sums=[11, 12, 13, 14, 15, 16])


def made(*sums: int) -> Trace:
    return Trace(sums=list(sums))


# Comparing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "hint", "place"),
    [
        (made(14, 15, 16, 17), None, 3),
        (made(14), 3, 3),
        (made(11, 12), 3, 0),
        (made(99, 98), 3, None),
        (made(), 3, None),
        (made(16, 17, 18), None, 5),
    ],
)
def test_the_place_where_a_run_went_on(later: Trace, hint: int | None, place: int | None) -> None:
    assert place_in(later, BEFORE, hint) == place


def test_where_sums_repeat_the_told_step_decides() -> None:
    again = made(1, 2, 3, 1, 2, 3, 1, 2, 3)
    assert place_in(made(1, 2, 3), again, 3) == 3
    assert place_in(made(1, 2, 3), again, None) == 0


def test_only_what_changes_can_be_equal() -> None:
    assert compare(made(14, 15, 99), BEFORE, 3) == Tally(equal=2, of=3)
    assert compare(made(14, 15, 16, 17), BEFORE, 3).is_all
    assert compare(made(0, 0), made(0, 0, 0), 0) == Tally()
    assert not Tally().is_all


def test_a_trace_is_read_without_the_record_that_a_kill_cut_off(tmp_path: Path) -> None:
    rows = [(5 * MS, 1), (7 * MS, 2)]
    data = b"".join(RECORD.pack(*row) for row in rows)
    assert decode(data + struct.pack("<Q", 1)) == Trace(at_ns=[5 * MS, 7 * MS], sums=[1, 2])
    (tmp_path / "2-0-77").write_bytes(data)
    (tmp_path / "2-0-78").write_bytes(RECORD.pack(9 * MS, 3))
    (tmp_path / "2-0-79").write_bytes(b"")
    (tmp_path / "2-1-80").write_bytes(b"")
    (tmp_path / "2-0-77.cuda").write_bytes(b"")
    assert read_trace(tmp_path, "2").sums == [3], "the process that stepped last"
    assert read_trace(tmp_path, "bare") == Trace()
    assert ranks_in(tmp_path, "2") == 2
    assert devices_in(tmp_path) == {"cuda"}


def test_times_of_steps_leave_out_what_is_cold_and_a_snapshot() -> None:
    gaps_ms = [100, 50, 40, *[10] * 8, 60, 10, 10]
    at = [0]
    for gap in gaps_ms:
        at.append(at[-1] + gap * MS)
    trace = Trace(at_ns=at, sums=list(range(len(at))))
    assert step_s(trace) == pytest.approx(0.010)
    assert spread(trace) == pytest.approx(0.0)
    assert stall_s(trace, 12) == pytest.approx(0.050)
    assert step_s(made(1, 2)) == 0.0
    assert spread(made(1, 2)) == 0.0


@pytest.mark.parametrize(
    ("step_s", "made", "ended", "every"),
    [
        (1.0, 40, False, 20),
        (0.01, 400, False, 200),
        (0.0005, 350, False, 175),
        (0.01, 60, True, 20),
        (0.01, 3, True, 1),
        (9.0, 4, False, 4),
        (0.0, 20, False, 20),
    ],
)
def test_snapshots_come_far_apart_and_soon_enough(
    step_s: float, made: int, ended: bool, every: int
) -> None:
    assert snapshot_steps(step_s, 20, made, ended=ended, apart_s=3.0) == every


# Judging --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skipped", "steps", "recorded", "verdict"),
    [
        (20, Tally(equal=9, of=9), Tally(equal=4, of=4), EXACT),
        (20, Tally(equal=9, of=9), Tally(), EXACT),
        (20, Tally(), Tally(equal=4, of=4), EXACT),
        (20, Tally(equal=9, of=9), Tally(equal=3, of=4), DIFFERS),
        (20, Tally(equal=0, of=9), Tally(), DIFFERS),
        (20, Tally(), Tally(), UNKNOWN),
        (None, Tally(), Tally(), UNKNOWN),
        (0, Tally(equal=9, of=9), Tally(), ZERO),
    ],
)
def test_the_verdict(skipped: int | None, steps: Tally, recorded: Tally, verdict: str) -> None:
    assert judge(skipped, steps, recorded) == verdict


def test_the_newest_proof_of_a_replay_counts() -> None:
    said = ["B: x; verified, 3 of 4 values equal", "B: x; verified, 40 of 40 values equal", "B: y"]
    assert recorded_in(said) == Tally(equal=40, of=40)
    assert recorded_in(["C: nothing of the kind"]) == Tally()


def test_what_a_person_reads() -> None:
    found = Found(
        verdict=EXACT,
        tier="B",
        detail="by replay",
        steps=Tally(equal=20, of=20),
        undisturbed=Tally(equal=3, of=40),
        killed_at_step=47,
        skipped_steps=40,
        bare_step_s=0.010,
        step_s=0.011,
        snapshot_b=2_000_000,
        not_covered=not_covered(has_gpu=False, ranks=1, saved_sooner=False),
    )
    text = "\n".join(lines_of(found))
    assert "EXACT: killed after step 47, went on after step 40; 7 steps were run again" in text
    assert "20 of 20 steps left the parameters" in text
    assert "two runs of this script differ (3 of 40 steps equal)" in text
    assert "a step takes 11.00 ms, bare 10.00 ms (+10.0%" in text
    assert "not covered: a GPU" in text
    assert "kernels" not in "".join(not_covered(has_gpu=True, ranks=2, saved_sooner=True))


# The bare run ---------------------------------------------------------------------------------------


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    (work / "data" / "kept.txt").write_text("x")
    (work / "data" / "big.bin").write_text("x")
    (work / ".gitignore").write_text("*.bin\n")
    (work / "link").symlink_to("data/kept.txt")
    return scan(work, max_b=10_000)


async def run(code: str, workdir: Workdir, base: Path) -> Bare:
    base.mkdir(exist_ok=True)
    command = [sys.executable, "-c", code]
    return await run_bare(command, workdir, base, {}, steps=1, first_s=60.0)


@pytest.mark.parametrize(
    ("code", "what", "said"),
    [
        ("open('data/big.bin')", "is here but is not sent", ".gitignore"),
        ("open('absent.bin')", "absent.bin, which is not here", "absent.bin"),
        ("import no_such_package", "a package that is not installed", "no_such_package"),
        ("raise RuntimeError('No CUDA GPUs are available')", "needs a GPU", "No CUDA GPUs"),
        ("import sys; sys.exit('odd')", "fails by itself, with status 1", "odd"),
    ],
)
@pytest.mark.asyncio
async def test_a_script_that_cannot_run_here_is_told_apart(
    code: str, what: str, said: str, workdir: Workdir, tmp_path: Path
) -> None:
    bare = await run(code, workdir, tmp_path / "base")
    error = failure(bare, workdir)
    assert what in error.what
    assert said in f"{error.what} {error.why}"
    assert error.mend


@pytest.mark.asyncio
async def test_the_bare_run_works_on_a_copy(workdir: Workdir, tmp_path: Path) -> None:
    code = "open('data/kept.txt', 'w').write('changed'); open('new', 'w')"
    bare = await run(code, workdir, tmp_path / "base")
    assert (bare.status, bare.tail, bare.trace.steps) == (0, "", 0)
    assert (workdir.path / "data" / "kept.txt").read_text() == "x"
    assert not (workdir.path / "new").exists()


@pytest.mark.asyncio
async def test_a_program_that_is_not_there_is_told(workdir: Workdir, tmp_path: Path) -> None:
    with pytest.raises(CheckError) as caught:
        await run_bare(["/no/such"], workdir, tmp_path / "b", {}, steps=1, first_s=1.0)
    assert caught.value.exit_status == 65


def test_a_copy_has_links_and_not_what_is_left_out(workdir: Workdir, tmp_path: Path) -> None:
    copy_out(workdir, tmp_path / "copy")
    assert (tmp_path / "copy" / "link").read_text() == "x"
    assert not (tmp_path / "copy" / "data" / "big.bin").exists()


# A job's snapshot replayed here ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "reason", "tail", "verdict", "said"),
    [
        ("recording", "", "", EXACT, ["EXACT: replayed to step 60", "49 of 49 came again"]),
        (
            "fallen",
            "refused: device is not what it was: cpu, and was NVIDIA A100",
            "",
            UNKNOWN,
            ["NOT COMPARED", "NVIDIA A100"],
        ),
        ("replaying", "", "", UNKNOWN, ["it was not done after 9 s"]),
        ("fallen", "event 3 is another one", "", DIFFERS, ["NOT EXACT", "event 3"]),
        (
            "fallen",
            "the script ended in the replay (status 1)",
            "Traceback\nKeyError: 'SEED'\n",
            DIFFERS,
            ["KeyError: 'SEED'"],
        ),
    ],
)
def test_what_a_replayed_snapshot_says(
    phase: str, reason: str, tail: str, verdict: str, said: list[str]
) -> None:
    outcome = {
        "phase": phase,
        "step": 60,
        "equal": 49 if verdict == EXACT else 0,
        "of": 49 if verdict == EXACT else 0,
        "reason": reason,
        "took_s": 9.0,
        "tail": tail,
    }
    found = found_of(History().job, 2_000_000, outcome)
    text = "\n".join(lines_of(found))
    assert found.verdict == verdict
    assert [one for one in said if one not in text] == []
    assert "kill" not in text
