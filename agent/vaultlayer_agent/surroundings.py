"""What every part of a running attempt is given."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaultlayer.driver import BootPayload
from vaultlayer_agent.enrol import MachineKeys
from vaultlayer_agent.happenings import Happening
from vaultlayer_agent.link import Link
from vaultlayer_agent.output import Output
from vaultlayer_agent.progress import Tracker


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """One attempt's connections to the world.

    Attributes:
        boot: what the machine was told.
        state_path: the agent's own directory.
        keys: open what is sealed to this machine.
        link: words on the bus.
        output: the stream in which the script and the agent speak.
        tracker: how far the script is.
        born_s: when the agent started, by `clock_s`.
        clock_s: the boot-time clock.
        tell: takes what happened.
        may_commit: whether a commit may be sent now.
        spawn: starts a task that lives until the agent leaves.
    """

    boot: BootPayload
    state_path: Path
    keys: MachineKeys
    link: Link
    output: Output
    tracker: Tracker
    born_s: float
    clock_s: Callable[[], float]
    tell: Callable[[Happening], None]
    may_commit: Callable[[], bool]
    spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
