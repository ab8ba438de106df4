"""What an attempt may have to do: chosen by the core, carried out by the shell. Pure."""

import msgspec

from vaultlayer.messages import TakeoverOrder

STOP_GRACE_S = 10.0
"""Between SIGTERM and SIGKILL in an orderly stop."""

SALVAGE_S = 120.0
"""How long an orphan may try to save what it has."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that the shell has to do."""


class Prepare(Effect, frozen=True, kw_only=True):
    """Ask what to run, and fetch it."""


class SendReady(Effect, frozen=True, kw_only=True):
    """Report readiness until answered."""


class Place(Effect, frozen=True, kw_only=True):
    """Fetch what is newer than what was prefetched and put all files in place."""

    order: TakeoverOrder


class StartScript(Effect, frozen=True, kw_only=True):
    """Start the command."""


class PauseScript(Effect, frozen=True, kw_only=True):
    """Stop the process group where it stands."""


class ResumeScript(Effect, frozen=True, kw_only=True):
    """Let the process group go on."""


class StopScript(Effect, frozen=True, kw_only=True):
    """SIGTERM, wait, SIGKILL."""

    grace_s: float = STOP_GRACE_S


class KillScript(Effect, frozen=True, kw_only=True):
    """SIGKILL the whole tree, now."""


class SendNotice(Effect, frozen=True, kw_only=True):
    """Tell the broker, and the hooks inside the script."""

    grace_s: float
    source: str


class Finalise(Effect, frozen=True, kw_only=True):
    """Capture, upload and commit what the script left."""


class SendExit(Effect, frozen=True, kw_only=True):
    """Flush the output and report the exit. `exit_code` None: as the script ended."""

    exit_code: int | None = None
    signal: int = 0
    detail: str = ""


class Salvage(Effect, frozen=True, kw_only=True):
    """Upload what is complete to our own prefix, for at most so long."""

    limit_s: float = SALVAGE_S


class Leave(Effect, frozen=True, kw_only=True):
    """End the agent's process; the last effect there is."""

    status: int
    reason: str = ""
