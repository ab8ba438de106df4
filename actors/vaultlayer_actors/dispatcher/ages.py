"""How old things are by this process's own steady clock, so that no two clocks need to agree."""

from collections.abc import Callable

from vaultlayer.ids import JobId

NAMES_MAX = 64
"""Of one job; a name that was dropped counts from anew."""


class Ages:
    """When this process first heard of each thing that happened to a job.

    A process that has just started counts from its start, so that it gives everybody their full time.
    """

    def __init__(self, mono_s: Callable[[], float]) -> None:
        self._mono_s = mono_s
        self._first: dict[JobId, dict[str, float]] = {}

    def age_s(self, job: JobId, name: str) -> float:
        """Give the seconds since this process first asked for a thing of that name."""
        known = self._first.setdefault(job, {})
        now_s = self._mono_s()
        if name not in known and len(known) >= NAMES_MAX:
            del known[next(iter(known))]
        return now_s - known.setdefault(name, now_s)

    def forget(self, job: JobId) -> None:
        """Drop what is known of a job that is over."""
        self._first.pop(job, None)
