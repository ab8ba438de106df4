"""The one way in which anything changes a job: fold to the head, decide, append by compare-and-swap.

A lost acknowledgement is an *unknown* outcome: the next fold shows whether the command id is there. So a
command may be given any number of times, by any number of processes, and takes effect once.
"""

from collections import OrderedDict
from collections.abc import Callable

import anyio
import msgspec

from vaultlayer import events as ev
from vaultlayer.bus.protocol import AppendConflictError, Entry, JobLog
from vaultlayer.errors import BrokerError, BusTimeoutError, ErrorBody
from vaultlayer.fold import fold
from vaultlayer.ids import ActorId, CmdId, JobId
from vaultlayer.job import Job
from vaultlayer.subjects import parse_event

Decide = Callable[[Job | None], ev.Event | ErrorBody | None]
"""Looks at the newest state and gives what to append, a refusal, or None when nothing is to be done."""

SNAPSHOT_EVERY = 500
"""Entries between snapshots: a fold never reads more than about this many."""

TRIES_MAX = 40
"""Conflicts and unknown outcomes that one append bears; each means that somebody else got on."""

CACHE_MAX = 20_000


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an append. Neither event nor refusal: nothing was to be done, or it was done before."""

    job: Job | None
    event: ev.Event | None = None
    refused: ErrorBody | None = None


class Ledger:
    """Folds and appends, with a cache of folds by sequence."""

    def __init__(self, log: JobLog, *, actor: ActorId, clock: Callable[[], float]) -> None:
        self._log = log
        self._actor = actor
        self._clock = clock
        self._folds: OrderedDict[JobId, Job] = OrderedDict()

    def peek(self, job: JobId) -> Job | None:
        """Give the cached fold, which may be old."""
        return self._folds.get(job)

    async def read(self, job: JobId) -> Job | None:
        """Fold the job's log to its head; None when there is no such job."""
        state = self._folds.get(job) or await self._from_snapshot(job)
        for entry in await self._log.read(job, after=state.seq if state else 0):
            event = _event_of(entry)
            if event is not None:
                state = fold(state, event, entry.seq)
            elif state is not None:
                # What cannot be read means nothing here, but it is the head to append after.
                state = msgspec.structs.replace(state, seq=entry.seq)
        if state is not None:
            self._keep(job, state)
        return state

    async def append(self, job: JobId, decide: Decide, cmd_id: CmdId) -> Appended:
        """Append what `decide` gives on the newest state, at most once for this command id.

        Args:
            job: whose log.
            decide: called again after each conflict; must be free of effects.
            cmd_id: stamped on the entry; found in the log, nothing is appended.

        Raises:
            BrokerError: the log cannot be read; nothing was appended.
            BusTimeoutError: the outcome stayed unknown; the same call may be made again.
        """
        sent = False
        for tries in range(TRIES_MAX):
            try:
                state = await self.read(job)
                decided = self._decided(job, state, decide, cmd_id)
                if isinstance(decided, Appended):
                    return decided
                sent = True
                seq = await self._log.append(decided, after=state.seq if state else 0)
            except AppendConflictError:
                continue
            except BrokerError as error:
                if not sent:
                    raise
                # Unknown, not failed: the next fold shows it. Wait a little, the server may be away.
                if tries >= TRIES_MAX // 4:
                    raise BusTimeoutError(
                        f"cannot append to the log of {job}", why=error.what, retryable=True
                    ) from error
                await anyio.sleep(min(0.05 * 2**tries, 2.0))
                continue
            return await self._stored(job, state, decided, seq)
        raise BusTimeoutError(
            f"cannot append to the log of {job}",
            why=f"{TRIES_MAX} tries met a newer entry each",
            retryable=True,
        )

    def _decided(
        self, job: JobId, state: Job | None, decide: Decide, cmd_id: CmdId
    ) -> Appended | ev.Event:
        """Give the stamped entry to append, or what came of it where there is nothing to append."""
        if state is not None and cmd_id in state.seen:
            return Appended(job=state)
        decision = decide(state)
        if decision is None:
            return Appended(job=state)
        if isinstance(decision, ErrorBody):
            return Appended(job=state, refused=decision)
        return msgspec.structs.replace(
            decision, job=job, cmd_id=cmd_id, actor=self._actor, at=self._clock()
        )

    async def open_jobs(self) -> list[JobId]:
        """List the jobs that are not closed, from the log itself."""
        kinds = await self._log.kinds()
        return sorted(
            job for job, seen in kinds.items() if "submitted" in seen and "closed" not in seen
        )

    async def all_jobs(self) -> list[JobId]:
        """List every job of the log."""
        return sorted(job for job, seen in (await self._log.kinds()).items() if "submitted" in seen)

    def forget(self, job: JobId) -> None:
        """Drop the cached fold."""
        self._folds.pop(job, None)

    async def _stored(self, job: JobId, before: Job | None, event: ev.Event, seq: int) -> Appended:
        state = fold(before, event, seq)
        if state is not None:
            self._keep(job, state)
            if state.entries % SNAPSHOT_EVERY == 0:
                await self._snapshot(job, state)
        return Appended(job=state, event=event)

    async def _snapshot(self, job: JobId, state: Job) -> None:
        """Store the folded state; losing the race for it costs nothing."""
        snapshot = ev.Snapshot(
            job=job,
            cmd_id=f"snapshot-{state.seq}",
            actor=self._actor,
            at=self._clock(),
            through=state.seq,
            state=msgspec.Raw(msgspec.json.encode(state)),
        )
        try:
            seq = await self._log.append(snapshot, after=state.seq)
        except (AppendConflictError, BrokerError):
            return
        self._keep(job, msgspec.structs.replace(state, seq=seq))

    async def _from_snapshot(self, job: JobId) -> Job | None:
        entry = await self._log.last_snapshot(job)
        if entry is None:
            return None
        event = _event_of(entry)
        return fold(None, event, entry.seq) if event is not None else None

    def _keep(self, job: JobId, state: Job) -> None:
        known = self._folds.get(job)
        # Of two reads under way at once, the older may come in last.
        if known is None or known.seq <= state.seq:
            self._folds[job] = state
        self._folds.move_to_end(job)
        while len(self._folds) > CACHE_MAX:
            self._folds.popitem(last=False)


def _event_of(entry: Entry) -> ev.Event | None:
    """Read a stored entry; None for one of a later version, or one that is no entry of ours at all."""
    try:
        return ev.decode(parse_event(entry.subject)[1], entry.payload)
    except msgspec.MsgspecError:
        # One such entry must not stop a job for ever; nobody but the broker can append.
        return None
