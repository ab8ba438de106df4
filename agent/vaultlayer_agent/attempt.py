"""What one attempt does, step by step; the state machine says when. Each step gives what happened."""

import time
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from vaultlayer import sealing
from vaultlayer.checkpoint.manifest import Manifest
from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.driver import BootPayload
from vaultlayer.errors import CheckpointError, VaultLayerError
from vaultlayer.every import parse_every
from vaultlayer.logging import get_logger
from vaultlayer.messages import (
    Brief,
    BriefRequest,
    Done,
    ExitReport,
    NoticeReport,
    ReadyReply,
    ReadyReport,
    Sealed,
    SecretsRequest,
    TakeoverOrder,
)
from vaultlayer_agent import effects as ef
from vaultlayer_agent import happenings as hp
from vaultlayer_agent.boot_stages import read_stages, stage_times
from vaultlayer_agent.bucket import Bucket
from vaultlayer_agent.capture import Capture
from vaultlayer_agent.course import Course, Secrets
from vaultlayer_agent.gpus import prove_gpus
from vaultlayer_agent.layout import Layout
from vaultlayer_agent.prepare import Preparation, Restored, holds_checkpoint
from vaultlayer_agent.reports import Reports
from vaultlayer_agent.surroundings import Surroundings
from vaultlayer_agent.unsaved import outside_words
from vaultlayer_agent.way import REPLAYS_MOST, Choice, Kind, Way, next_way

FLUSH_S = 120.0
"""How long the end waits for the broker to store the last output while it answers everything else."""

PARTING_S = 5.0
EX_IOERR = 74
NOTICE_S = 2.0


class Attempt:
    """The work of one attempt."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._boot: BootPayload = around.boot
        self._link = around.link
        self._output = around.output
        self._bucket = Bucket(
            around.link,
            seal_private=around.keys.seal_private,
            job=around.boot.job,
            attempt=around.boot.attempt,
        )
        self._secrets = Secrets()
        self._prefetched = ""
        self._placing = anyio.CancelScope()
        self._brief: Brief
        self._layout: Layout
        self._preparation: Preparation
        self._course: Course | None = None
        self._reports = Reports(around.link, around.output)

    # Before the script ----------------------------------------------------------------------------

    async def prepare(self) -> hp.Happening:
        """Ask what to run and with what, and fetch it."""
        async with task_group() as group:
            group.start_soon(self._ask_brief)
            group.start_soon(self._ask_secrets)
            group.start_soon(self._bucket.open)
            group.start_soon(prove_gpus, self._boot)
        self._output.say(f"attempt {self._boot.attempt} on {self._boot.provider} prepares")
        spec, head = self._brief.spec, self._brief.head
        self._around.spawn(self._bucket.keep_fresh)
        self._around.tell(hp.Briefed(strict=spec.strict))
        work = Path(self._boot.work_path or self._brief.work_path).expanduser()
        self._layout = Layout(work=work, state=self._around.state_path, outputs=spec.outputs)
        self._preparation = Preparation(
            link=self._link, bucket=self._bucket, layout=self._layout, say=self._output.say
        )
        self._prefetched = await self._preparation.prefetch(spec.code, head)
        return hp.Prepared()

    async def _ask_brief(self) -> None:
        request = BriefRequest(incarnation=self._link.incarnation)
        self._brief = await self._link.ask("brief", request, Brief)

    async def _ask_secrets(self) -> None:
        request = SecretsRequest(incarnation=self._link.incarnation)
        sealed = await self._link.ask("secrets", request, Sealed)
        plain = sealing.unseal(self._around.keys.seal_private, sealed.box)
        self._secrets = msgspec.json.decode(plain, type=Secrets)

    async def ready(self) -> hp.Happening | None:
        """Report readiness; the answer may be the takeover order."""
        report = ReadyReport(
            cmd_id=self._link.cmd_id("ready"),
            incarnation=self._link.incarnation,
            prefetched=self._prefetched,
            boot_s=self._boot_times(),
        )
        reply = await self._link.ask("ready", report, ReadyReply)
        return hp.TakeoverOrdered(order=reply.takeover) if reply.takeover else None

    def _boot_times(self) -> dict[str, float]:
        lived_s = self._around.clock_s() - self._around.born_s
        stages = read_stages(self._around.state_path)
        return {**stage_times(stages, time.time() - lived_s), "ready": round(lived_s, 3)}

    async def place(self, order: TakeoverOrder) -> hp.Happening | None:
        """Put code and checkpoint in place; None when that was given up for a stop."""
        with self._placing:
            begun_s = self._around.clock_s()
            await anyio.to_thread.run_sync(self._make_room, order.head is None)
            code = await self._preparation.place_code(self._brief.spec.code)
            restored = await self._preparation.place_checkpoint(order.head, self._choice)
            await self._set_course(code, restored, self._around.clock_s() - begun_s)
            return hp.Placed()
        return None

    @property
    def _choice(self) -> Choice:
        spec = self._brief.spec
        is_off = parse_every(spec.snapshot_every).is_off
        # A snapshot's image holds the working directory alone.
        can = spec.hooks and not is_off and not self._layout.outputs
        return Choice(ghost=can, resume_args=bool(spec.resume_args))

    async def _set_course(
        self, code: Manifest | None, restored: Restored, restore_s: float
    ) -> None:
        if restored.way.kind is Kind.ZERO and not self._choice.ghost:
            restored = msgspec.structs.replace(restored, way=Way(records=False))
        capture = Capture(
            places=self._layout.places,
            code=code,
            staging=self._layout.staging,
            resume_args=bool(self._brief.spec.resume_args),
        )
        for name in await anyio.to_thread.run_sync(capture.set_aside):
            self._output.say(f"{name} is not complete and was set aside")
        self._around.tracker.begin(restored.step)
        self._output.say(_beginning(self._boot.attempt, restored, restore_s))
        if self._layout.outputs and self._brief.spec.hooks:
            self._output.say(outside_words(tuple(map(str, self._layout.outputs.values()))))
        self._course = Course(
            self._around,
            brief=self._brief,
            secrets=self._secrets,
            layout=self._layout,
            bucket=self._bucket,
            capture=capture,
            restored=restored,
            known=self._preparation.known,
            restore_s=restore_s,
            reports=self._reports,
            earlier=self._course,
        )

    async def run(self) -> hp.Happening:
        """See the script through; a replay that fails is followed by the next way, and never by silence."""
        replays = 0
        self._around.spawn(self._reports.run)
        while True:
            happening = await self.course.run()
            fall = self.course.fall
            if not fall:
                return happening
            replays += 1
            await self._fall(fall, replays)

    async def _fall(self, why: str, replays: int) -> None:
        """Start anew in this attempt: the tree as it was at the launch, and the next way down."""
        failed = self.course
        await failed.end_commits()
        await anyio.to_thread.run_sync(failed.close)
        begun_s = self._around.clock_s()
        restored, code = await self._place_next(failed.restored, replays)
        await self._set_course(code, restored, self._around.clock_s() - begun_s)
        self.course.fell(why)

    async def _place_next(self, failed: Restored, replays: int) -> tuple[Restored, Manifest | None]:
        head, manifest, source = failed.head, failed.manifest, failed.source
        assert head is not None, "only what was saved is replayed"
        assert manifest is not None, "and its manifest was read"
        assert source is not None, "and so was the manifest of what was replayed"
        way = next_way(failed.way, replays, source.meta, head, is_native=holds_checkpoint(manifest))
        while True:
            await anyio.to_thread.run_sync(self._layout.clear)
            code = await self._preparation.place_code(self._brief.spec.code)
            try:
                return await self._preparation.place_way(way, head, manifest), code
            except CheckpointError as error:
                if way.kind is Kind.ZERO:
                    raise
                self._output.say(f"that cannot be restored either: {error.what}")
                way = (
                    Way()
                    if way.kind is Kind.NATIVE
                    else next_way(way, REPLAYS_MOST, {}, head, is_native=holds_checkpoint(manifest))
                )

    def _make_room(self, from_zero: bool) -> None:
        first = self._brief.first or from_zero
        for path in self._layout.make_room(self._boot.attempt, first=first):
            get_logger().info("leftover_moved", to=str(path))

    # While it runs and afterwards -----------------------------------------------------------------

    @property
    def course(self) -> Course:
        """The script's course; there is one from `Placed` on."""
        assert self._course is not None, "placed before it is used"
        return self._course

    async def notice(self, grace_s: float, source: str) -> None:
        """Pass on that the machine will be taken: to the broker, and to the hooks inside the script."""
        self._output.say(f"notice: this machine will be taken in {grace_s:g} s ({source})")
        if self._course is not None:
            await self._course.warn(grace_s)
        report = NoticeReport(
            cmd_id=f"{self._link.cmd_id('notice')}-{source}",
            incarnation=self._link.incarnation,
            grace_s=grace_s,
            source=source,
        )
        try:
            await self._link.ask("notice", report, Done, timeout_s=NOTICE_S)
        except VaultLayerError as error:
            get_logger().warning("notice_refused", code=error.code, why=error.what)

    async def exit(self, effect: ef.SendExit) -> hp.Happening:
        """Have all output stored, then report the exit until it is answered."""
        self._placing.cancel()
        report = self._exit_report(effect)
        if report.detail:
            self._output.say(report.detail)
        if not await self._output.flush(FLUSH_S):
            get_logger().warning("output_left_behind", unsent_b=self._output.unsent_b)
        try:
            await self._link.ask("exit", report, Done)
        except VaultLayerError as error:
            get_logger().warning("exit_refused", code=error.code, why=error.what)
        await self._output.flush(PARTING_S)
        return hp.ExitAnswered()

    def _exit_report(self, effect: ef.SendExit) -> ExitReport:
        exit_code, number, detail = effect.exit_code or 0, effect.signal, effect.detail
        course = self._course if effect.exit_code is None else None
        if course is not None and course.ending is not None:
            exit_code, number = course.ending.exit_code, course.ending.signal
            if exit_code == 0 and not course.is_saved:
                exit_code, detail = (
                    EX_IOERR,
                    "the script ended well, but its output is not all saved",
                )
        return ExitReport(
            cmd_id=self._link.cmd_id("exit"),
            incarnation=self._link.incarnation,
            exit_code=exit_code,
            signal=number,
            last_step=self._around.tracker.step,
            detail=detail,
        )

    def kill(self) -> None:
        """Kill what runs."""
        if self._course is not None:
            self._course.kill()

    def close(self) -> None:
        """Kill what runs and give back what is held; for the last moment, after all tasks."""
        if self._course is not None:
            self._course.close()


def _beginning(number: int, restored: Restored, restore_s: float) -> str:
    if restored.ref is None:
        again = number > 1 or restored.head is not None
        return f"attempt {number} starts from zero" if again else f"attempt {number} starts"
    step = "" if restored.step is None else f" of step {restored.step}"
    how = ", by replay" if restored.way.kind is Kind.REPLAY else ""
    return (
        f"attempt {number} goes on from checkpoint {restored.ref.manifest[:12]}{step}{how}, "
        f"restored in {restore_s:.1f} s"
    )
