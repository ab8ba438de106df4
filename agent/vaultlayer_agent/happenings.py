"""What can happen to an attempt: told by the shell, judged by the core. Pure."""

import msgspec

from vaultlayer.messages import Grant, TakeoverOrder


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that the shell tells the machine."""


class Tick(Happening, frozen=True, kw_only=True):
    """Time has passed."""


class Enrolled(Happening, frozen=True, kw_only=True):
    """The machine has its own bus credential."""


class Briefed(Happening, frozen=True, kw_only=True):
    """The job is known."""

    strict: bool = False


class Granted(Happening, frozen=True, kw_only=True):
    """A beat was answered; `sent_s` is when it was sent."""

    sent_s: float
    grant: Grant


class BeatFailed(Happening, frozen=True, kw_only=True):
    """A beat sent at `sent_s` was not answered, or could not be sent."""

    sent_s: float


class Prepared(Happening, frozen=True, kw_only=True):
    """Code and newest checkpoint are on this machine."""


class PrepareFailed(Happening, frozen=True, kw_only=True):
    """What the script needs cannot be had, and trying again would not help."""

    exit_code: int
    detail: str


class TakeoverOrdered(Happening, frozen=True, kw_only=True):
    """The log names this attempt the active one; heard by reply, control message or grant."""

    order: TakeoverOrder


class Placed(Happening, frozen=True, kw_only=True):
    """The files stand where the script expects them."""


class ScriptStarted(Happening, frozen=True, kw_only=True):
    """The script's process exists."""


class ScriptEnded(Happening, frozen=True, kw_only=True):
    """The script's process is over."""


class Finalised(Happening, frozen=True, kw_only=True):
    """The last checkpoint is committed, or there was nothing to commit."""


class ExitAnswered(Happening, frozen=True, kw_only=True):
    """The broker has the exit in its log."""


class Salvaged(Happening, frozen=True, kw_only=True):
    """The orphan's last upload is over, well or not."""


class FencedOff(Happening, frozen=True, kw_only=True):
    """Told to stop for ever, or our credentials are refused."""

    reason: str


class Refused(Happening, frozen=True, kw_only=True):
    """The broker refuses something without which there is no going on."""

    reason: str


class StopAsked(Happening, frozen=True, kw_only=True):
    """A person wants the job to end."""

    reason: str = ""


class Noticed(Happening, frozen=True, kw_only=True):
    """The provider will take the machine."""

    grace_s: float
    source: str
    ends_idle: bool = False
    """Without a script there is nothing to save: leave at once."""
