"""The course of the script in one attempt: start, checkpoints on the way, the end and what it leaves."""

import os
import shutil

import anyio
import anyio.to_thread
import msgspec

from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.checkpoint.source import KnownFiles
from vaultlayer.errors import CommandError, VaultLayerError
from vaultlayer.every import parse_every
from vaultlayer.ids import Attempt, JobId, instance_name
from vaultlayer.logging import get_logger
from vaultlayer.messages import Brief
from vaultlayer_agent import effects as ef
from vaultlayer_agent import environment as en
from vaultlayer_agent import ghost as gh
from vaultlayer_agent import happenings as hp
from vaultlayer_agent.bucket import Bucket
from vaultlayer_agent.capture import Capture, HookEvent, hook_path
from vaultlayer_agent.capture.cut import LOOSE
from vaultlayer_agent.capture.snapshots import FRAMEWORK, Snapshots, reached_step
from vaultlayer_agent.commits import Committed, Committer
from vaultlayer_agent.ghost import Phase
from vaultlayer_agent.layout import Layout
from vaultlayer_agent.own import write_own_files
from vaultlayer_agent.pace import BETWEEN_S, Pace, way_s
from vaultlayer_agent.prepare import Restored, fallen_tier
from vaultlayer_agent.process import Ending
from vaultlayer_agent.recorder import Recorder
from vaultlayer_agent.reports import Reports
from vaultlayer_agent.running import Command, Running
from vaultlayer_agent.surroundings import Surroundings
from vaultlayer_agent.unsaved import Saving, tell_tier, tell_unsaved, unsaved_words
from vaultlayer_agent.way import Kind

FINAL_TRIES = 3
"""How often the last checkpoint is taken anew when it cannot be saved as it was taken."""

COLLECT_AGAIN_S = 10.0
PARTING_WORDS_S = 0.5


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in the sealed box of `…secrets`."""

    env: dict[str, str] = {}
    """What the user gave with `--env`."""
    host: dict[str, str] = {}
    """Of the user's own shell, for attempts on the user's own machine."""

    def __repr__(self) -> str:
        return "Secrets(***)"


class Course:
    """One script, from the moment its files are in place."""

    def __init__(
        self,
        around: Surroundings,
        *,
        brief: Brief,
        secrets: Secrets,
        layout: Layout,
        bucket: Bucket,
        capture: Capture,
        restored: Restored,
        known: KnownFiles,
        restore_s: float,
        reports: Reports,
        earlier: "Course | None" = None,
    ) -> None:
        self._around = around
        self.restored = restored
        self._brief = brief
        self._secrets = secrets
        self._layout = layout
        self._capture = capture
        self._restore_s = restore_s
        self._pins = self._choose_pins()
        self._reports = reports
        self._running = Running(
            output=around.output,
            tracker=around.tracker,
            capture=capture,
            clock_s=around.clock_s,
            heard=self._heard,
        )
        self._recorder = self._make_recorder()
        self._committer = Committer(
            link=around.link,
            bucket=bucket,
            source=capture,
            job=around.boot.job,
            attempt=around.boot.attempt,
            parent=restored.manifest,
            known=known,
            meta=self._pins.as_meta(),
            may_commit=around.may_commit,
            committed=self._committed,
            say=around.output.say,
            after_seq=earlier._committer.seq if earlier else 0,
        )
        self._committer.ghost = restored.ref if restored.way.kind is Kind.REPLAY else None
        self._is_safe = restored.way.kind is not Kind.ZERO
        self._saved: Committed | None = None
        """The newest checkpoint of the script's own."""
        self._over = anyio.Event()
        self._is_stopped = False
        self.ending: Ending | None = None
        self.is_saved = True
        """Whether all that the script left could be saved."""

    def _make_recorder(self) -> Recorder:
        way = self.restored.way
        return Recorder(
            gh.begin(records=way.records, replays=way.kind is Kind.REPLAY),
            Pace(
                every=parse_every(self._brief.spec.snapshot_every),
                between_s=self._brief.between_s or BETWEEN_S,
            ),
            snapshots=Snapshots(self._layout.ghost, self._layout.base, self._capture),
            capture=self._capture,
            hooks=self._running.hooks,
            output=self._around.output,
            reports=self._reports,
            clock_s=self._around.clock_s,
            fell=lambda: self._around.spawn(self._kill_soon),
        )

    def _choose_pins(self) -> en.Pins:
        manifest = self.restored.manifest
        kept = en.pins_of(manifest.meta) if manifest is not None else None
        threads = en.choose_threads(self._brief.spec.command, en.cores_here())
        return kept or en.Pins(threads=threads)

    # The script -----------------------------------------------------------------------------------

    async def run(self) -> hp.Happening:
        """Start the script, and see it through to its end."""
        try:
            command = self._command()
        except CommandError as error:
            return hp.PrepareFailed(exit_code=error.exit_status, detail=str(error))
        self._around.spawn(self._committer.run)
        async with task_group() as group:
            group.start_soon(self._collect)
            group.start_soon(self._note_first_step)
            group.start_soon(tell_tier, self._around.tracker, self._reports, self._capture)
            group.start_soon(tell_unsaved, lambda: self._is_safe, self._tell_unsaved)
            group.start_soon(self._recorder.ask)
            self.ending = await self._running.run(command, self._started)
            group.cancel_scope.cancel()
        self._note_last_step()
        self._recorder.ended(self.ending, stopped=self._is_stopped)
        self._over.set()
        return hp.ScriptEnded()

    def _command(self) -> Command:
        spec, boot, layout = self._brief.spec, self._around.boot, self._layout
        resume = self._resume()
        words = en.script_command(spec.command, spec.resume_args, resume)
        own = en.passed_on(os.environ) if boot.local else {}
        host = self._secrets.host if boot.local else {}
        forced = {
            **own,
            "VAULTLAYER_JOB": boot.job,
            "VAULTLAYER_ATTEMPT": str(boot.attempt),
            "VAULTLAYER_INSTANCE": instance_name(JobId(boot.job), Attempt(boot.attempt)),
            "VAULTLAYER_CHECKPOINT_DIR": str(layout.work / "checkpoints"),
            "CHECKPOINT_DIR": str(layout.work / "checkpoints"),
        }
        if resume is not None:
            forced["VAULTLAYER_RESUME_CHECKPOINT"] = str(resume.path)
        replays = self.restored.way.kind is Kind.REPLAY
        if self.restored.ref is not None and not replays:
            forced["VAULTLAYER_RESUME"] = "1"
        if self.restored.manifest is not None and not replays:
            own_files = layout.state / "own-files"
            write_own_files(own_files, self.restored.manifest, layout.places)
            forced["VAULTLAYER_OWN_FILES"] = str(own_files)
        if spec.hooks:
            forced["VAULTLAYER_EVENTS"] = str(self._running.events_path)
            forced |= self._ghost_environment()
        else:
            forced["VAULTLAYER_HOOKS"] = "off"
        env = en.script_environment(
            base=en.machine_base(os.environ) if not host else {},
            user={**host, **self._secrets.env},
            forced=forced,
            job=boot.job,
            pins=self._pins,
            hooks=hook_path() if spec.hooks else None,
        )
        mark = f"{boot.job}-{boot.attempt}-{boot.incarnation}"
        return Command(words=words, cwd=layout.work, env=env, mark=mark)

    def _ghost_environment(self) -> dict[str, str]:
        way = self.restored.way
        every = self._recorder.pace.every
        if not way.records:
            return {}
        return en.ghost_environment(
            ghost=self._layout.ghost,
            work=self._layout.work,
            image=self._layout.image if way.kind is Kind.REPLAY else None,
            number=way.number,
            every=every.words if every.steps else "",
        )

    def _resume(self) -> en.Resume | None:
        """Find what a script may go on from: only what was restored, never what it made meanwhile."""
        if self.restored.ref is None or self.restored.way.kind is Kind.REPLAY:
            return None
        latest = self._capture.latest()
        if not latest:
            return None
        return en.Resume(path=self._layout.work / latest, step=self.restored.step)

    def _started(self) -> None:
        self._around.tell(hp.ScriptStarted())
        self._reports.started(self.restored.ref, self.restored.step, self._restore_s)

    async def _note_first_step(self) -> None:
        self._reports.stepped(await self._around.tracker.wait_first_step())

    def _note_last_step(self) -> None:
        """A script that was killed told its newest step to its disk alone."""
        tracker = self._around.tracker
        if tracker.made is not None and (reached := reached_step(self._layout.ghost)) is not None:
            tracker.count(reached, self._around.clock_s())

    # Checkpoints ----------------------------------------------------------------------------------

    async def _collect(self) -> None:
        while True:
            try:
                async for cut in self._capture.cuts():
                    # A cut that had to wait for its turn may know less than is known by now.
                    held = self._recorder.ghost.holds
                    tier = self._capture.tier() if held else (cut.tier, cut.detail)
                    self._reports.found_tier(*tier)
                    self._committer.box.put(cut)
            except (OSError, VaultLayerError) as error:
                get_logger().error("capture_failed", why=str(error))
                self._around.output.say(f"checkpoints cannot be taken just now: {error}")
            await anyio.sleep(COLLECT_AGAIN_S)

    async def _heard(self, event: HookEvent) -> None:
        await self._recorder.heard(event)
        if event.kind == "ghost_off":
            self._committer.ghost = None
        if event.kind == "train" and not self._recorder.ghost.is_unproved:
            self._reports.found_tier(*self._capture.tier())

    @property
    def fall(self) -> str:
        """Why the replay failed, so that the script must be started in another way; "" when it did not."""
        ghost = self._recorder.ghost
        return ghost.reason if ghost.phase is Phase.FALLEN and not self._is_stopped else ""

    def fell(self, why: str) -> None:
        """Tell, loudly, that the way before this one failed, and what it means."""
        tier, detail = fallen_tier(self.restored)
        self._around.output.say(f"FALLING BACK after a replay that diverged ({why}): {detail}")
        self._reports.found_tier(tier, f"a replay diverged ({why}): {detail}", again=True)

    async def _kill_soon(self) -> None:
        """End what is left of a run that has failed, after it had time to say why."""
        await anyio.sleep(PARTING_WORDS_S)
        if not self._over.is_set():
            await anyio.to_thread.run_sync(self.kill)

    def _tell_unsaved(self, how_long: str) -> None:
        tier, _ = self._capture.tier()
        seen, outside = self._capture.seen, self._layout.outputs
        saving = Saving(
            ghost=self._recorder.ghost,
            void=seen.void,
            is_off=self._recorder.pace.every.is_off,
            outside=tuple(map(str, outside.values())),
            train=seen.train,
        )
        self._reports.found_tier(tier, f"{how_long}: {unsaved_words(saving)}", again=True)

    def _committed(self, committed: Committed) -> None:
        step = "" if committed.step is None else f" of step {committed.step}"
        self._around.output.say(
            f"checkpoint {committed.seq}{step} is safe: "
            f"{committed.new_b / 1e6:.1f} MB new of {committed.size_b / 1e6:.1f} MB"
        )
        self._is_safe = self._is_safe or committed.framework != LOOSE
        if committed.framework == FRAMEWORK:
            self._recorder.uploaded(committed.upload_s)
        else:
            self._saved = committed

    async def finalise(self) -> hp.Happening:
        """Commit what the script left, however long that takes."""
        await self._committer.close()
        if self._is_unproved:
            return hp.Finalised()
        for _ in range(FINAL_TRIES):
            if await self._save_final():
                return hp.Finalised()
        self.is_saved = False
        return hp.Finalised()

    @property
    def _is_unproved(self) -> bool:
        """What lies on the disk is a replay's, or came after one that was not compared to the end."""
        ghost = self._recorder.ghost
        ended_live = ghost.phase is Phase.LIVE and not self._is_stopped
        return ghost.is_unproved and not ended_live

    async def end_commits(self) -> None:
        """Take no more cuts, and wait for the one in hand; for a run that is started in another way."""
        await self._committer.close()

    async def _save_final(self) -> bool:
        try:
            ended = self.ending
            well = ended is not None and ended.exit_code == 0 and not self._is_stopped
            cut = await self._capture.final(well=well)
            self._reports.found_tier(cut.tier, cut.detail)
            try:
                return not cut.files or await self._committer.save(cut)
            finally:
                self._capture.release(cut)
        except (OSError, VaultLayerError) as error:
            get_logger().error("final_checkpoint_failed", why=str(error))
            self._around.output.say(f"the last checkpoint could not be taken: {error}")
            return False

    async def salvage(self, limit_s: float) -> hp.Happening:
        """Stop the script and upload what it left, in time; nobody is there to commit it."""
        with anyio.move_on_after(limit_s):
            self._is_stopped = True
            if self._running.script is not None:
                await self._running.script.stop(ef.STOP_GRACE_S)
                await self._over.wait()
            await self._committer.close()
            if self._is_unproved:
                return hp.Salvaged()
            try:
                await self._committer.upload(await self._capture.final())
            except (OSError, VaultLayerError) as error:
                get_logger().warning("salvage_failed", why=str(error))
        return hp.Salvaged()

    # From outside ---------------------------------------------------------------------------------

    async def warn(self, grace_s: float) -> None:
        """Learn that the machine will be taken: a snapshot, or the script's own save, at its next step.

        What cannot reach the bucket in time is not begun: it would only be in the way of what can.
        """
        uplink_b_s, last = self._committer.uplink_b_s, self._saved
        self._recorder.noticed(grace_s, uplink_b_s)
        await self._running.tell("notice", grace_s=grace_s)
        needed_s = way_s(last.new_b, uplink_b_s, last.upload_s) if last else 0.0
        if needed_s < grace_s:
            await self._running.tell("save")
        else:
            self._around.output.say(
                f"no time for another save, which would need {needed_s:.0f} s of {grace_s:.0f} s"
            )

    async def save(self) -> None:
        """Ask the hooks for a save at the next step."""
        await self._running.tell("save")

    async def stop(self, grace_s: float) -> None:
        """End the script gently; its end is then told by `run`."""
        self._is_stopped = True
        if self._running.script is not None:
            await self._running.script.stop(grace_s)

    def pause(self) -> None:
        """Stop the script where it stands."""
        if self._running.script is not None:
            self._running.script.pause()

    def resume(self) -> None:
        """Let the script go on."""
        if self._running.script is not None:
            self._running.script.resume()

    def kill(self) -> None:
        """Kill what runs."""
        self._running.kill()

    def close(self) -> None:
        """Kill what runs and give back what is held; after all tasks."""
        self._running.close()
        shutil.rmtree(self._layout.staging, ignore_errors=True)
