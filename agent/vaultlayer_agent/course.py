"""The course of the script in one attempt: start, checkpoints on the way, the end and what it leaves."""

import os
import shutil

import anyio
import msgspec

from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.checkpoint.source import KnownFiles
from vaultlayer.errors import CommandError, VaultLayerError
from vaultlayer.ids import Attempt, JobId, instance_name
from vaultlayer.logging import get_logger
from vaultlayer.messages import Brief, Done, StartedReport, SteppedReport, TierReport
from vaultlayer_agent import effects as ef
from vaultlayer_agent import environment as en
from vaultlayer_agent import happenings as hp
from vaultlayer_agent.bucket import Bucket
from vaultlayer_agent.capture import Capture, HookEvent, hook_path
from vaultlayer_agent.commits import Committed, Committer
from vaultlayer_agent.layout import Layout
from vaultlayer_agent.own import write_own_files
from vaultlayer_agent.prepare import Restored
from vaultlayer_agent.process import Ending
from vaultlayer_agent.running import Command, Running
from vaultlayer_agent.surroundings import Surroundings

REPORTS_MAX = 100
FINAL_TRIES = 3
"""How often the last checkpoint is taken anew when it cannot be saved as it was taken."""

COLLECT_AGAIN_S = 10.0
TIER_WAIT_S = 60.0
"""A script that has saved nothing so long after its first step is told what that means."""

Report = StartedReport | SteppedReport | TierReport


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
    ) -> None:
        self._around = around
        self._brief = brief
        self._secrets = secrets
        self._layout = layout
        self._capture = capture
        self._restored = restored
        self._restore_s = restore_s
        self._tier = ""
        self._pins = self._choose_pins()
        self._outbox, self._inbox = anyio.create_memory_object_stream[tuple[str, Report]](
            REPORTS_MAX
        )
        self._running = Running(
            output=around.output,
            tracker=around.tracker,
            capture=capture,
            clock_s=around.clock_s,
            heard=self._heard,
        )
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
        )
        self._over = anyio.Event()
        self._tiers = 0
        self.ending: Ending | None = None
        self.is_saved = True
        """Whether all that the script left could be saved."""

    def _choose_pins(self) -> en.Pins:
        manifest = self._restored.manifest
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
        self._around.spawn(self._send_reports)
        self._around.spawn(self._committer.run)
        async with task_group() as group:
            group.start_soon(self._collect)
            group.start_soon(self._note_first_step)
            group.start_soon(self._note_tier)
            self.ending = await self._running.run(command, self._started)
            group.cancel_scope.cancel()
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
        if self._restored.ref is not None:
            forced["VAULTLAYER_RESUME"] = "1"
        if self._restored.manifest is not None:
            own_files = layout.state / "own-files"
            write_own_files(own_files, self._restored.manifest, layout.places)
            forced["VAULTLAYER_OWN_FILES"] = str(own_files)
        if spec.hooks:
            forced["VAULTLAYER_EVENTS"] = str(self._running.events_path)
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

    def _resume(self) -> en.Resume | None:
        """Find what a script may go on from: only what was restored, never what it made meanwhile."""
        if self._restored.ref is None:
            return None
        latest = self._capture.latest()
        if not latest:
            return None
        return en.Resume(path=self._layout.work / latest, step=self._restored.ref.step)

    def _started(self) -> None:
        ref = self._restored.ref
        self._around.tell(hp.ScriptStarted())
        self._report(
            "started",
            StartedReport(
                cmd_id=self._around.link.cmd_id("started"),
                incarnation=self._around.link.incarnation,
                resumed_from=ref.manifest if ref else "",
                resumed_step=ref.step if ref else None,
                restore_s=round(self._restore_s, 3),
            ),
        )

    async def _note_first_step(self) -> None:
        step = await self._around.tracker.wait_first_step()
        self._report(
            "stepped",
            SteppedReport(
                cmd_id=self._around.link.cmd_id("stepped"),
                incarnation=self._around.link.incarnation,
                step=step,
            ),
        )

    # Checkpoints ----------------------------------------------------------------------------------

    async def _collect(self) -> None:
        while True:
            try:
                async for cut in self._capture.cuts():
                    self._found_tier(cut.tier, cut.detail)
                    self._committer.box.put(cut)
            except (OSError, VaultLayerError) as error:
                get_logger().error("capture_failed", why=str(error))
                self._around.output.say(f"checkpoints cannot be taken just now: {error}")
            await anyio.sleep(COLLECT_AGAIN_S)

    def _heard(self, event: HookEvent) -> None:
        if event.kind == "train":
            self._found_tier(*self._capture.tier())

    async def _note_tier(self) -> None:
        """Tell the tier of a script that has not saved anything a while after its first step."""
        await self._around.tracker.wait_first_step()
        await anyio.sleep(TIER_WAIT_S)
        if not self._tier:
            self._found_tier(*self._capture.tier())

    def _found_tier(self, tier: str, detail: str) -> None:
        if not tier or tier == self._tier:
            return
        self._tier = tier
        self._tiers += 1
        self._around.output.say(f"tier {tier}: {detail}")
        self._report(
            "tier",
            TierReport(
                cmd_id=self._around.link.cmd_id("tier", self._tiers),
                incarnation=self._around.link.incarnation,
                tier=tier,
                detail=detail,
            ),
        )

    def _committed(self, committed: Committed) -> None:
        step = "" if committed.step is None else f" of step {committed.step}"
        self._around.output.say(
            f"checkpoint {committed.seq}{step} is safe: "
            f"{committed.new_b / 1e6:.1f} MB new of {committed.size_b / 1e6:.1f} MB"
        )

    async def finalise(self) -> hp.Happening:
        """Commit what the script left, however long that takes."""
        await self._committer.close()
        for _ in range(FINAL_TRIES):
            if await self._save_final():
                return hp.Finalised()
        self.is_saved = False
        return hp.Finalised()

    async def _save_final(self) -> bool:
        try:
            cut = await self._capture.final()
            self._found_tier(cut.tier, cut.detail)
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
            if self._running.script is not None:
                await self._running.script.stop(ef.STOP_GRACE_S)
                await self._over.wait()
            await self._committer.close()
            try:
                await self._committer.upload(await self._capture.final())
            except (OSError, VaultLayerError) as error:
                get_logger().warning("salvage_failed", why=str(error))
        return hp.Salvaged()

    # From outside ---------------------------------------------------------------------------------

    async def warn(self, grace_s: float) -> None:
        """Tell the hooks that the machine will be taken, so that the script saves at its next step."""
        await self._running.tell("notice", grace_s=grace_s)
        await self._running.tell("save")

    async def save(self) -> None:
        """Ask the hooks for a save at the next step."""
        await self._running.tell("save")

    async def stop(self, grace_s: float) -> None:
        """End the script gently; its end is then told by `run`."""
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

    # Reports --------------------------------------------------------------------------------------

    def _report(self, verb: str, report: Report) -> None:
        try:
            self._outbox.send_nowait((verb, report))
        except anyio.WouldBlock:
            get_logger().warning("report_dropped", verb=verb)

    async def _send_reports(self) -> None:
        """Send reports one after another, each until it is answered."""
        async for verb, report in self._inbox:
            try:
                await self._around.link.ask(verb, report, Done)
            except VaultLayerError as error:
                get_logger().warning("report_refused", verb=verb, code=error.code, why=error.what)
