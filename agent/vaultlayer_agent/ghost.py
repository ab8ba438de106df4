"""What is known of the ghost in one run of the script: recording, replaying, live again, or fallen. Pure."""

from enum import StrEnum

import msgspec

from vaultlayer_agent.capture.events import HookEvent
from vaultlayer_agent.process import Ending

replace = msgspec.structs.replace

DIVERGED_STATUS = 121
"""Exit status with which a process ends whose replay does not fit its log."""


class Phase(StrEnum):
    """Where the ghost is."""

    OFF = "off"
    WAITING = "waiting"
    """Wanted, but no hook has spoken of it yet."""
    RECORDING = "recording"
    REPLAYING = "replaying"
    LIVE = "live"
    """The replay is over; the next values are compared with the dead run's."""
    FALLEN = "fallen"


class Ghost(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    `step`: the newest step that a hook told. `target`: the step that is replayed to.
    `is_kept`: there is a snapshot of this run, or one that it was proved to go on from exactly.
    `verified` are the processes that have compared all values, `world` is how many there must be.
    """

    phase: Phase = Phase.OFF
    step: int = 0
    target: int = 0
    is_replay: bool = False
    is_kept: bool = False
    world: int = 1
    verified: frozenset[int] = frozenset()
    equal: int = 0
    near: int = 0
    """Values that differ by less than a hundredth, as those of a GPU may that adds in any order."""
    of: int = 0
    reason: str = ""

    @property
    def is_unproved(self) -> bool:
        """Nothing that the script does now may be kept: it is a replay, or not yet compared."""
        return self.is_replay and self.phase is not Phase.RECORDING and self.phase is not Phase.OFF

    @property
    def holds(self) -> bool:
        """Whether the newest snapshot speaks for the job, so that nothing else need be cut."""
        return self.is_kept and self.phase is Phase.RECORDING


def begin(*, records: bool, replays: bool) -> Ghost:
    """Give the state in which a run starts."""
    if replays:
        return Ghost(phase=Phase.REPLAYING, is_replay=True)
    return Ghost(phase=Phase.WAITING if records else Phase.OFF)


def hear(ghost: Ghost, event: HookEvent) -> Ghost:
    """Take what a hook says; what comes after a fall, or from a run without a ghost, changes nothing."""
    if ghost.phase in {Phase.OFF, Phase.FALLEN}:
        return ghost
    ghost = replace(
        ghost, step=max(ghost.step, event.step or 0), world=max(ghost.world, event.world)
    )
    match event.kind:
        case "ghost" if ghost.phase is Phase.WAITING:
            return replace(ghost, phase=Phase.RECORDING)
        case "ghost_off" if not ghost.is_unproved:
            return replace(ghost, phase=Phase.OFF, is_kept=False, reason=event.detail)
        case "ghost_off":
            return replace(ghost, phase=Phase.FALLEN, reason=f"no replay: {event.detail}")
        case "replay":
            return replace(ghost, target=event.step or 0)
        case "live" if ghost.phase is Phase.REPLAYING:
            return replace(ghost, phase=Phase.LIVE)
        case "verified" if ghost.phase is Phase.LIVE:
            return _verified(ghost, event)
        case "diverged":
            return replace(ghost, phase=Phase.FALLEN, reason=event.detail or "it does not say why")
        case _:
            return ghost


def _verified(ghost: Ghost, event: HookEvent) -> Ghost:
    ghost = replace(
        ghost,
        verified=ghost.verified | {event.pid},
        equal=ghost.equal + _count(event, "equal"),
        near=ghost.near + _count(event, "near"),
        of=ghost.of + _count(event, "of"),
    )
    if len(ghost.verified) < ghost.world:
        return ghost
    return replace(ghost, phase=Phase.RECORDING, is_kept=True)


def ended(ghost: Ghost, ending: Ending, *, stopped: bool) -> Ghost:
    """Judge the end of the script: one that ends within its replay has not done what it did before.

    Args:
        ghost: the state so far.
        ending: how the script ended.
        stopped: we ended it ourselves.
    """
    if ghost.phase is Phase.REPLAYING and not stopped:
        how = f"status {ending.exit_code}"
        return replace(ghost, phase=Phase.FALLEN, reason=f"the script ended in the replay ({how})")
    if ghost.phase is Phase.LIVE and ending.exit_code == DIVERGED_STATUS:
        return replace(ghost, phase=Phase.FALLEN, reason="the values differ from the recorded ones")
    return ghost


def line_of(before: Ghost, ghost: Ghost) -> str:
    """Give what a person is told of a change of phase, "" for nothing."""
    match ghost.phase:
        case Phase.RECORDING if before.phase is Phase.WAITING:
            return "recording for exact resume; the first snapshot comes soon"
        case Phase.RECORDING:
            return f"resumed exactly at step {ghost.target}: {proof_of(ghost)}"
        case Phase.LIVE:
            return f"replayed to step {ghost.target}; it trains on, and is compared with what was recorded"
        case Phase.OFF:
            return f"no ghost snapshots for this run: {ghost.reason}"
        case Phase.FALLEN:
            return f"REPLAY DIVERGED at step {ghost.step}: {ghost.reason}"
        case _:
            return ""


def proof_of(ghost: Ghost) -> str:
    """Say how many values were compared after going live."""
    near = f", {ghost.near} within 1 % (kernels that are not deterministic)" if ghost.near else ""
    return f"verified, {ghost.equal} of {ghost.of} values equal{near}"


def _count(event: HookEvent, name: str) -> int:
    text = event.meta.get(name, "")
    return int(text) if text.isdecimal() else 0
