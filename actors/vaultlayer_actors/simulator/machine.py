"""One simulated machine, and what it goes through."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class State(StrEnum):
    """Where a simulated machine is in its life; each provider has its own words for these."""

    BOOTING = "booting"
    RUNNING = "running"
    STOPPED = "stopped"
    """Halted by the provider (outbid) or by a call; its disk is billed."""
    EXITED = "exited"
    """What it ran has ended by itself."""
    FAILED = "failed"
    """It never came up."""
    ENDING = "ending"
    GONE = "gone"


class Knobs(msgspec.Struct, kw_only=True):
    """How the provider behaves; changed by `PATCH /_sim/knobs`."""

    boot_s: float = 0.0
    """From the create to running."""
    never_boots: bool = False
    listing_lag_s: float = 0.0
    """For how long after its create the listing does not show a machine."""
    get_lag_s: float = 0.0
    """For how long a look at one machine says that there is none."""
    end_s: float = 0.0
    """From the terminate to gone."""
    gone_kept_s: float = 0.0
    """For how long a machine that is gone is still listed, as gone."""
    gpu: str = ""
    """`<name>:<MB>:<count>`: what machines really have; empty: what was promised."""
    price_factor: float = 1.0
    """What is billed, relative to what was offered."""


class Machine(msgspec.Struct, kw_only=True):
    """One machine."""

    id: str
    name: str
    price_usd_h: float
    stopped_usd_h: float = 0.0
    spec: dict[str, object] = {}
    """What the provider's simulator keeps beside: the offer, the request, tags."""
    env: dict[str, str] = {}
    script: str = ""
    """What it runs when it is up: POSIX sh; empty: nothing."""
    state: State = State.BOOTING
    created_s: float = 0.0
    running_s: float | None = None
    ends_s: float | None = None
    gone_s: float | None = None
    intended: State = State.RUNNING
    """What its owner wants: a machine that was stopped by the provider differs from one that was told to."""
    exit_status: int | None = None
    notice_s: float | None = None
    """When it will be taken, as its metadata tell."""
    reason: str = ""
    off_ends: bool = False
    """Of a VM: powering itself off ends it and its billing; otherwise it is stopped, and billed."""

    @property
    def is_live(self) -> bool:
        """Whether it is neither gone nor failed."""
        return self.state not in {State.GONE, State.FAILED}


def environment(machine: Machine, extra: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of what a machine runs."""
    return {**machine.env, **extra}
