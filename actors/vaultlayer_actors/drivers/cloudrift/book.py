"""Which machine is whose at a provider whose machines have no names: a file of this home says it.

A create is written down before it is called, with all machines that were there. What comes to light
afterwards and was not there before is the machine of the create whose answer was lost. Only one create
and one such judgement happen at a time, so that no machine in flight is taken for another's.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from vaultlayer.driver import Clock
from vaultlayer.logging import get_logger

INTENT_S = 600.0
"""For how long after a create without an answer a new machine is taken for the create's."""
TURN_S = 0.2
"""From one look at the lock to the next."""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A create whose outcome is not known."""

    name: str
    known: list[str]
    """The machines that were there before it."""
    at_s: float
    """Unix time."""


class Pages(msgspec.Struct, kw_only=True):
    """The file."""

    names: dict[str, str] = {}
    """Instance → our name."""
    intents: list[Intent] = []


class Book:
    """Names of this home's machines.

    Args:
        path: the file; its lock stands beside it.
        clock: for the pauses of waiting.
        unix_s: gives Unix time, which outlives a process.
    """

    def __init__(self, path: Path, clock: Clock, unix_s: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._unix_s = unix_s
        self._strange: set[str] = set()
        self._ended: set[str] = set()

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Be the only one who creates, or judges what is new."""
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _is_locked(descriptor):
                await self._clock.sleep(TURN_S)
            yield
        finally:
            os.close(descriptor)

    def name_of(self, instance: str) -> str:
        """Give our name of a machine; empty for one that this home has not made."""
        return self._read().names.get(instance, "")

    def has_intents(self) -> bool:
        """Whether the outcome of a create is not known."""
        return bool(self._read().intents)

    def intend(self, name: str, known: Iterable[str]) -> None:
        """Write down a create before it is called."""
        pages = self._read()
        intent = Intent(name=name, known=sorted(known), at_s=self._unix_s())
        pages.intents = [*(one for one in pages.intents if one.name != name), intent]
        self._write(pages)

    def refused(self, name: str) -> None:
        """Write down that a create has made nothing."""
        pages = self._read()
        pages.intents = [one for one in pages.intents if one.name != name]
        self._write(pages)

    def made(self, name: str, instance: str) -> None:
        """Write down what a create has made."""
        pages = self._read()
        pages.intents = [one for one in pages.intents if one.name != name]
        pages.names[instance] = name
        self._write(pages)

    def ended(self, instance: str) -> None:
        """Forget a machine that the provider has called ended, when the book is written next."""
        self._ended.add(instance)

    def tell_strangers(self, listed: Iterable[str]) -> None:
        """Say what nobody knows while nothing is on its way."""
        for instance in sorted(set(listed) - set(self._read().names)):
            self._tell(instance)

    def judge(self, listed: Iterable[str]) -> None:
        """Give machines that nobody knows to the newest create without an answer that they came after."""
        pages = self._read()
        oldest_s = self._unix_s() - INTENT_S
        open_ones = [one for one in pages.intents if one.at_s >= oldest_s]
        for instance in sorted(set(listed) - set(pages.names)):
            owner = next((one for one in reversed(open_ones) if instance not in one.known), None)
            if owner is None:
                self._tell(instance)
                continue
            open_ones.remove(owner)
            pages.names[instance] = owner.name
        pages.intents = open_ones
        self._write(pages)

    def _tell(self, instance: str) -> None:
        """Say once that somebody else uses the account, or that a machine of ours was forgotten."""
        if instance not in self._strange:
            self._strange.add(instance)
            get_logger().warning("machine_of_nobody", provider="cloudrift", instance=instance)

    def _read(self) -> Pages:
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode(self._path.read_bytes(), type=Pages)
        return Pages()

    def _write(self, pages: Pages) -> None:
        """Replace the file; only in one's turn, so that nobody's entry gets lost."""
        for instance in self._ended:
            pages.names.pop(instance, None)
        self._ended.clear()
        draft = self._path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(pages))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
