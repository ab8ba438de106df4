"""Follows a check's job: its tiers, its checkpoints, who runs it, and what its witness writes down."""

from collections.abc import Callable
from pathlib import Path

import anyio

from vaultlayer import events as ev
from vaultlayer.job import Job
from vaultlayer.messages import Progress
from vaultlayer_cli.check.trace import Trace, read_trace
from vaultlayer_cli.reading import EventReader, Happened, Printed

LOOK_S = 0.05
TAIL_MOST = 8192
EXACT = frozenset("AB")


class Watch:
    """A follower's view that remembers, and lets one wait for what is to come."""

    def __init__(self, traces: Path, tell: Callable[[str], None]) -> None:
        self._traces = traces
        self._tell = tell
        self._reader = EventReader()
        self.tiers: list[ev.TierFound] = []
        self.commits: list[ev.CheckpointCommitted] = []
        self.exact: list[ev.CheckpointCommitted] = []
        """Those that were committed when the script was known to go on from them exactly."""
        self.starts: list[ev.Started] = []
        self.output = ""
        self.step: dict[int, int] = {}

    def bind(self, reader: EventReader) -> None:
        """Take the fold from the follower's own reader."""
        self._reader = reader

    @property
    def job(self) -> Job | None:
        """The fold of all that happened."""
        return self._reader.job

    @property
    def is_over(self) -> bool:
        """Whether the job has its outcome."""
        return self._reader.is_over

    @property
    def usable(self) -> list[ev.CheckpointCommitted]:
        """The checkpoints that a restart could go on from; some frameworks save before the first step too."""
        return [one for one in self.commits if one.step != 0]

    def trace(self, attempt: int) -> Trace:
        """Give the steps of an attempt so far."""
        return read_trace(self._traces, str(attempt))

    def tiers_of(self, attempt: int) -> list[ev.TierFound]:
        """Give the tiers that an attempt has told of, in order."""
        return [found for found in self.tiers if found.attempt == attempt]

    async def until(self, come: Callable[[], bool]) -> bool:
        """Wait until something has come, or the job is over; whether it has come."""
        while not (done := come()) and not self.is_over:  # noqa: ASYNC110  files are levels
            await anyio.sleep(LOOK_S)
        return done

    # A follower's view ----------------------------------------------------------------------------

    def happened(self, entry: Happened) -> None:
        """One log entry."""
        match entry.event:
            case ev.TierFound() as event:
                self.tiers.append(event)
            case ev.CheckpointCommitted() as event:
                self.commits.append(event)
                if self.tiers and self.tiers[-1].tier in EXACT and event.step != 0:
                    self.exact.append(event)
            case ev.Started() as event:
                self.starts.append(event)
            case _:
                pass

    def printed(self, output: Printed) -> None:
        """Output of the script; its end is kept for the case that it fails."""
        self.output = (self.output + output.text)[-TAIL_MOST:]

    def progressed(self, attempt: int, progress: Progress) -> None:
        """Where the script is."""
        if progress.step is not None:
            self.step[attempt] = progress.step

    def told(self, text: str) -> None:
        """Something about the connection."""
        self._tell(text)
