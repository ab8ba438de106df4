"""One job of a check: it runs, its machine is killed after the first snapshot, and it must go on."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import psutil

from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.errors import CheckError, VaultLayerError
from vaultlayer.ids import JobId
from vaultlayer.messages import Cancel, Done, Drill, DrillAccepted
from vaultlayer_cli.check import trace as tr
from vaultlayer_cli.check.bare import MOST_S
from vaultlayer_cli.check.trace import Trace
from vaultlayer_cli.check.verdict import Found, judge, not_covered, recorded_in
from vaultlayer_cli.check.watch import Watch
from vaultlayer_cli.connect import ASK_S, new_cmd_id
from vaultlayer_cli.follow import Follower

END_S = 20.0
PATIENCE = 3
PATIENCE_S = 12.0
"""After so many intervals, and as long as a proof, a write and an upload take, no snapshot will come."""
WITNESSED_S = 15.0
"""How long a script may go on after the kill whose steps cannot be seen."""


class Trial:
    """One job that is killed once.

    Args:
        bare: the steps of the same script with nothing of ours around it; empty: they cannot be seen.
        steps: how many are to be compared after the kill.
        every: steps from one snapshot to the next.
        traces: where the witness writes.
        bus: of a session with the broker.
        job: the submitted job.
        tell: takes a line for people.
    """

    def __init__(
        self,
        bare: Trace,
        *,
        steps: int,
        every: int,
        traces: Path,
        bus: Bus,
        job: JobId,
        tell: Callable[[str], None],
    ) -> None:
        self._bare = bare
        self._steps = steps
        self._every = every
        self._bus = bus
        self._job = job
        self._tell = tell
        self._traces = traces
        self._watch = Watch(traces, tell)

    async def run(self) -> Found:
        """Follow it through its death, and end it.

        Raises:
            CheckError: it ended too soon, or did not come back.
        """
        follower = Follower(self._bus, self._job, self._watch)
        self._watch.bind(follower.events)
        found: Found | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow, follower)
            try:
                commit = await self._first_commit()
                killed_ns = await self._kill(commit)
                found = await self._see(commit, killed_ns)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._end(follower)
            group.cancel_scope.cancel()
        assert found is not None
        return found

    async def _follow(self, follower: Follower) -> None:
        await follower.replay()
        await follower.run()

    async def _first_commit(self) -> ev.CheckpointCommitted:
        watch = self._watch
        if await watch.until(lambda: bool(watch.usable)) and not watch.usable[0].final:
            await watch.until(self._patience(watch.usable[0].attempt))
            return watch.exact[0] if watch.exact else watch.usable[0]
        raise CheckError(
            "the script ended before anything of it was saved that a restart could use",
            why=self._told() or watch.output.strip().rpartition("\n")[2],
            mend="fewer --steps between snapshots, or more work for the script",
        )

    def _patience(self, attempt: int) -> Callable[[], bool]:
        """Give what ends the wait for an exact checkpoint: a file of the script's own may come sooner."""
        watch, began_s = self._watch, time.monotonic()
        enough = PATIENCE * self._every

        def is_over() -> bool:
            past_s = time.monotonic() - began_s
            has_gone_on = past_s > PATIENCE_S and watch.trace(attempt).steps >= enough
            return bool(watch.exact) or has_gone_on or past_s > MOST_S

        return is_over

    def _told(self) -> str:
        return (
            f"tier {self._watch.tiers[-1].tier}: {self._watch.tiers[-1].detail}"
            if self._watch.tiers
            else ""
        )

    async def _kill(self, commit: ev.CheckpointCommitted) -> int:
        """Let it train on for a while, then kill its machine; gives when, by the monotonic clock."""
        watch, attempt = self._watch, commit.attempt
        begun = commit.step if commit.step is not None else watch.trace(attempt).steps
        wanted = begun + self._steps
        began_s = time.monotonic()
        if self._bare.steps:
            await watch.until(
                lambda: watch.trace(attempt).steps >= wanted or time.monotonic() - began_s > MOST_S
            )
        if not watch.is_over:
            order = Drill(cmd_id=new_cmd_id(), verb="kill", grace_s=0.0)
            killed_ns = time.monotonic_ns()
            with contextlib.suppress(VaultLayerError):
                await self._bus.request(
                    subjects.drill(self._job), order, DrillAccepted, timeout_s=ASK_S
                )
                self._tell("killed its machine")
                return killed_ns
        raise CheckError(
            "the script ended before its machine could be killed",
            why="it has too little to do",
            mend="let it make more steps, by its own flags",
        )

    async def _see(self, commit: ev.CheckpointCommitted, killed_ns: int) -> Found:
        """Wait until enough steps after the kill can be compared, and say what came of it."""
        watch = self._watch
        await watch.until(lambda: any(one.attempt > commit.attempt for one in watch.starts))
        if not any(one.attempt > commit.attempt for one in watch.starts):
            raise CheckError(
                "the job did not come back after the kill",
                why=watch.job.reason if watch.job else "",
                mend="vaultlayer demo shows whether this machine can do it at all",
            )
        attempt = watch.starts[-1].attempt
        before = watch.trace(commit.attempt)
        began_s = time.monotonic()
        await watch.until(
            lambda: (
                self._is_enough(attempt, before)
                or (not self._bare.steps and time.monotonic() - began_s > WITNESSED_S)
            )
        )
        return self._found(commit, attempt, killed_ns, before)

    def _is_enough(self, attempt: int, before: tr.Trace) -> bool:
        """Whether as many steps were made as can be compared, and a replay has told how it went."""
        watch = self._watch
        told = watch.tiers_of(attempt)
        replays = any(one.tier == "B" for one in watch.tiers if one.attempt < attempt)
        if replays and not recorded_in([one.detail for one in told]).of and not _fall_in(told):
            return False
        steps = watch.trace(attempt).steps
        if not self._bare.steps:
            return watch.step.get(attempt, 0) > 0
        return steps >= self._steps or steps >= before.steps

    def _found(
        self, commit: ev.CheckpointCommitted, attempt: int, killed_ns: int, before: tr.Trace
    ) -> Found:
        watch = self._watch
        told = watch.tiers_of(attempt)
        after = watch.trace(attempt)
        resumed = watch.starts[-1].resumed_step
        fell = _fall_in(told)
        hint = 0 if fell else resumed
        place = tr.place_in(after, before, hint)
        steps = tr.compare(after, before, place if place is not None else hint or 0)
        recorded = recorded_in([one.detail for one in told])
        skipped = place if place is not None else hint
        tier = watch.tiers[-1]
        at = commit.step or 0
        return Found(
            verdict=judge(skipped, steps, recorded),
            tier=tier.tier,
            detail=tier.detail,
            fell=fell,
            steps=steps,
            recorded=recorded,
            undisturbed=tr.compare(before, self._bare, 0),
            killed_at_step=before.steps or max(watch.step.get(commit.attempt, 0), at),
            skipped_steps=skipped or 0,
            bare_step_s=tr.step_s(self._bare, at or None),
            bare_spread=tr.spread(self._bare, at or None),
            step_s=tr.step_s(before, max(tr.WARM + 1, at - 1) if at else None),
            stall_s=tr.stall_s(before, at) if at and before.steps > at else 0.0,
            snapshot_b=commit.size_b,
            back_s=(after.at_ns[0] - killed_ns) / 1e9 if after.steps else 0.0,
            not_covered=not_covered(
                has_gpu="cuda" in tr.devices_in(self._traces),
                ranks=tr.ranks_in(self._traces, str(attempt)),
                saved_sooner=tier.tier == "A",
            ),
        )

    async def _end(self, follower: Follower) -> None:
        """Cancel the job and see its machines gone; what is left of them is killed."""
        with contextlib.suppress(VaultLayerError), anyio.move_on_after(END_S):
            if not self._watch.is_over:
                request = Cancel(cmd_id=new_cmd_id(), by="check")
                await self._bus.request(subjects.cancel(self._job), request, Done, timeout_s=ASK_S)
            while not (job := self._watch.job) or not job.closed:
                await follower.read_events()
                await anyio.sleep(0.1)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if f"vl-{self._job}-" in process.environ().get("VAULTLAYER_INSTANCE", ""):
                    process.kill()


def _fall_in(told: list[ev.TierFound]) -> str:
    """Give what a replay that fell has said, "" when none has."""
    return next((one.detail for one in told if "diverged" in one.detail), "")
