"""What every actor is built from, and what the runtime asks of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vaultlayer.bus.protocol import Bus, JobLog
from vaultlayer.ids import ActorId
from vaultlayer.lease import LeaseTerms
from vaultlayer.ledger import Ledger
from vaultlayer.logging import Logger, get_logger
from vaultlayer.settings import Home, Settings


@dataclass(frozen=True, kw_only=True)
class ActorContext:
    """The world of one actor process: its name, the bus, the log, the settings and the clocks."""

    actor: ActorId
    kind: str
    bus: Bus
    log: JobLog
    ledger: Ledger
    settings: Settings
    terms: LeaseTerms
    home: Home
    now_s: Callable[[], float] = time.time
    """Unix seconds: for people and for deadlines that need no agreement."""
    mono_s: Callable[[], float] = time.monotonic
    """Seconds that never jump: for leases and waits within this process."""
    served: Callable[[], None] = lambda: None
    """Called once all that this actor answers to is being served."""

    @property
    def logger(self) -> Logger:
        """A logger that names this actor on each line."""
        return get_logger(actor=self.actor)


class Actor(Protocol):
    """One running actor."""

    @property
    def kind(self) -> str:
        """`dispatcher`, `provider_pool`, `watchdog`, `fencer` or `credential_vault`."""
        ...

    async def run(self) -> None:
        """Serve until cancelled."""
        ...


ActorFactory = Callable[[ActorContext], Actor]
"""What an entry point of the group `vaultlayer.actors` names."""
