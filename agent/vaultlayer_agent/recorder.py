"""The ghost of one run of the script: its snapshots become cuts, and what it says is passed on."""

from collections.abc import Callable

import anyio
import msgspec

from vaultlayer.logging import get_logger
from vaultlayer_agent import ghost as gh
from vaultlayer_agent import pace as pc
from vaultlayer_agent.capture import Capture, Cut, HookEvent
from vaultlayer_agent.capture.events import HookServer
from vaultlayer_agent.capture.muster import Act
from vaultlayer_agent.capture.snapshots import Snapshots, Taken
from vaultlayer_agent.ghost import Ghost, Phase, line_of, proof_of
from vaultlayer_agent.output import Output
from vaultlayer_agent.pace import Pace
from vaultlayer_agent.process import Ending
from vaultlayer_agent.reports import Reports

PACE_S = 0.25


class Recorder:
    """Follows the ghost through one run.

    Args:
        ghost: how the run begins.
        pace: when snapshots are asked for.
        snapshots: makes cuts.
        capture: is held while a snapshot speaks for the job, and learns of each one for the tier.
        hooks: answers and asks them.
        output: what changes is said there.
        reports: what it means for the tier is told there.
        clock_s: the boot-time clock.
        fell: called when a replay has diverged.
    """

    def __init__(
        self,
        ghost: Ghost,
        pace: Pace,
        *,
        snapshots: Snapshots,
        capture: Capture,
        hooks: HookServer,
        output: Output,
        reports: Reports,
        clock_s: Callable[[], float],
        fell: Callable[[], None],
    ) -> None:
        self.ghost = ghost
        self.pace = pace
        self._snapshots = snapshots
        self._capture = capture
        self._hooks = hooks
        self._output = output
        self._reports = reports
        self._clock_s = clock_s
        self._fell = fell
        self._risk = ""
        self._voids: set[str] = set()
        capture.is_held = ghost.is_unproved

    async def heard(self, event: HookEvent) -> None:
        """Take what a hook says."""
        self.pace = pc.stepped(self.pace, event.step or 0, self._clock_s())
        self._become(gh.hear(self.ghost, event))
        match event.kind:
            case "snapshot_begin" if not self.ghost.is_unproved:
                if await self._snapshots.begun(event) is Act.NOTHING:
                    self._hooks.hold()
                else:
                    await self._hooks.let_go()
            case "snapshot_end":
                ended = await self._snapshots.ended(event)
                if ended is not None:
                    self._publish(*ended)
            case "snapshot_void" | "bye":
                await self._voided(event)
            case _:
                pass

    async def _voided(self, event: HookEvent) -> None:
        if event.kind == "snapshot_void":
            get_logger().info("snapshot_void", step=event.step, why=event.detail)
            self.pace = pc.came_to_nothing(self.pace, self._clock_s())
            self._tell_void(event.detail)
        if self._snapshots.voided(event) is Act.DROP:
            await self._hooks.let_go()

    def _tell_void(self, why: str) -> None:
        """Tell once why there is no snapshot: without one the script starts from zero."""
        if self.ghost.is_unproved or why in self._voids:
            return
        self._voids.add(why)
        if self.ghost.is_kept:
            self._output.say(f"a snapshot came to nothing ({why}); the one before it still holds")
            return
        self._capture.seen.void = why
        self._output.say(f"no exact resume so far: {why}")
        self._reports.found_tier(*self._capture.tier(), again=True)

    async def ask(self) -> None:
        """Ask for a snapshot whenever one is due, until cancelled; ranks get a step ahead of them all."""
        while True:
            await anyio.sleep(PACE_S)
            now_s = self._clock_s()
            if not pc.is_due(self.pace, now_s) or self.ghost.phase is not Phase.RECORDING:
                continue
            self.pace = pc.asked(self.pace, now_s)
            if self.ghost.world > 1:
                await self._hooks.tell("snapshot", at_step=pc.common_step(self.pace))
            else:
                await self._hooks.tell("snapshot")

    def noticed(self, grace_s: float, uplink_b_s: float) -> None:
        """Learn that the machine will be taken, and how fast the way to the bucket is known to be."""
        self.pace = pc.noticed(self.pace, grace_s, uplink_b_s, self._clock_s())

    def ended(self, ending: Ending, *, stopped: bool) -> None:
        """Judge the end of the script."""
        self._snapshots.close()
        self._become(gh.ended(self.ghost, ending, stopped=stopped))

    def uploaded(self, upload_s: float) -> None:
        """Learn how long a snapshot's way to the bucket is."""
        self.pace = pc.uploaded(self.pace, upload_s, self._clock_s())
        risk = pc.risk_words(self.pace)
        if risk and risk != self._risk:
            self._risk = risk
            self._output.say(f"at most about {risk} of work can be lost from now on")

    def _publish(self, cut: Cut, taken: Taken) -> None:
        get_logger().info(
            "snapshot_taken", number=taken.number, step=taken.step, stall_s=round(taken.stall_s, 4)
        )
        if self.ghost.phase is not Phase.RECORDING:
            self._capture.release(cut)
            return
        self.pace = pc.took(self.pace, taken, self._clock_s())
        self._capture.seen.ghost = taken.step
        tier, detail = self._capture.tier()
        self._capture.publish(msgspec.structs.replace(cut, tier=tier, detail=detail))
        self._become(msgspec.structs.replace(self.ghost, is_kept=True))

    def _become(self, ghost: Ghost) -> None:
        before, self.ghost = self.ghost, ghost
        self._capture.is_held = ghost.is_unproved or ghost.holds
        if not ghost.holds:
            self._capture.seen.ghost = None
        if ghost.phase is not before.phase:
            self._tell(before, ghost)

    def _tell(self, before: Ghost, ghost: Ghost) -> None:
        get_logger().info("ghost", phase=ghost.phase.value, why=ghost.reason)
        if line := line_of(before, ghost):
            self._output.say(line)
        if ghost.phase is Phase.RECORDING:
            self.pace = pc.recording(self.pace, self._clock_s())
        if before.phase is Phase.LIVE and ghost.phase is Phase.RECORDING:
            self._capture.seen.ghost = ghost.target
            tier, detail = self._capture.tier()
            self._reports.found_tier(tier, f"{detail}; {proof_of(ghost)}", again=True)
        if ghost.phase is Phase.OFF:
            self.pace = pc.stopped(self.pace)
        if ghost.phase is Phase.FALLEN:
            self._fell()
