"""What a host's answer says, and what ssh's own failures mean. Pure."""

from collections.abc import Sequence

import msgspec

from vaultlayer.driver import Instance
from vaultlayer.errors import AuthError, CapacityError, DriverError

MARK = "VL1"
"""Our lines begin so; a login script of the user's may say anything else."""
DONE = f"{MARK} done"
"""The last line: without it the answer was cut off and says nothing."""

STATES = {"starting": "booting", "running": "running", "ended": "gone", "dead": "gone"}


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One instance on a host."""

    name: str
    state: str
    units: frozenset[int] = frozenset()
    """Which GPUs it has; of a host without any, the host itself."""
    detail: str = ""

    @property
    def is_there(self) -> bool:
        """Whether it holds its units."""
        return self.state != "gone"


def read(text: str) -> list[Found] | None:
    """Read the instances out of a host's answer; None for one that is not whole."""
    lines = [line.strip() for line in text.splitlines() if line.startswith(f"{MARK} ")]
    if DONE not in lines:
        return None
    found: list[Found] = []
    for line in lines:
        _, kind, *words = line.split(maxsplit=5)
        if kind == "is" and len(words) >= 3:
            found.append(_found(*words))
    return found


def _found(name: str, state: str, units: str, detail: str = "") -> Found:
    numbers = [part for part in units.split(",") if part.isdigit()]
    said = "its processes are gone" if state == "dead" else f"{state} {detail}".strip()
    return Found(
        name=name,
        state=STATES.get(state, "unknown"),
        units=frozenset(map(int, numbers)),
        detail="" if state in {"starting", "running"} else said,
    )


def refusal(text: str) -> DriverError | None:
    """Read why a host refused in so many words; None when it did not."""
    for line in text.splitlines():
        _, _, rest = line.partition(f"{MARK} ")
        kind, _, why = rest.partition(" ")
        if kind == "full":
            return CapacityError("the host has no room", why=why, retryable=True)
        if kind == "unfit":
            return DriverError("the host cannot run jobs", why=why)
        if kind in {"busy", "stuck"}:
            return DriverError("the host did not do it", why=f"{kind}: {why}", retryable=True)
    return None


def fault(target: str, status: int, said: str, hand: Sequence[str]) -> DriverError:
    """Say what a failure of ssh means.

    Args:
        target: `user@address`.
        status: the exit status; 255 is ssh's own.
        said: its standard error.
        hand: the command with which a person connects by hand.
    """
    line = " ".join(said.split())[-200:]
    by_hand = " ".join(hand)
    if "IDENTIFICATION HAS CHANGED" in said:
        return AuthError(
            f"{target} shows another host key than before",
            why="it was set up anew, or somebody else answers for it",
            mend=f"find out which; then remove the old key (ssh-keygen -R) and accept the new: {by_hand}",
        )
    if "Host key verification failed" in said or "No matching host key" in said:
        return AuthError(
            f"the host key of {target} is not known",
            why="nobody has accepted it yet, and we never accept one unseen",
            mend=f"connect once by hand and compare the fingerprint: {by_hand}",
        )
    if "Permission denied" in said or "Too many authentication failures" in said:
        return AuthError(
            f"{target} does not let us in",
            why=line,
            mend=f"ssh-copy-id, until this works: {by_hand}",
        )
    if status == 255:
        return DriverError(f"{target} cannot be reached", why=line, retryable=True)
    return DriverError(f"{target} failed", why=f"exit {status}: {line}", retryable=True)


def was_never_reached(error: DriverError) -> bool:
    """Whether a failure came before the host could be asked anything."""
    why = error.why or ""
    return "ssh: connect to host" in why or "ssh: Could not resolve hostname" in why


def instance_of(host: str, found: Found, price_usd_h: float) -> Instance:
    """Give an instance in our words."""
    return Instance(
        instance=f"{found.name}@{host}",
        name=found.name,
        state=found.state,
        price_usd_h=price_usd_h,
        detail=found.detail,
    )


def unknown(host: str, name: str, why: str) -> Instance:
    """Give an instance of which nothing can be seen: it may well run on."""
    return Instance(instance=f"{name}@{host}", name=name, state="unknown", detail=why)
