"""JetStream by its own JSON: the few calls we need, typed, with every answer checked.

Raw calls because the client library knows neither persist modes nor batched direct reads, and hides which
error the server gave.
"""

from collections.abc import Mapping
from typing import NoReturn, TypeVar

import anyio
import msgspec
from nats.aio.msg import Msg

from vaultlayer.bus.connection import Connection, header_of, nobody, status_of
from vaultlayer.bus.inbox import Answers
from vaultlayer.errors import BrokerDownError, BrokerError, BusTimeoutError

T = TypeVar("T", bound=msgspec.Struct)

API_S_MAX = 5.0
BATCH_MAX = 500
"""Entries asked for at once."""

STREAM_MISSING = 10059
STREAM_EXISTS_OTHERWISE = 10058
SUBJECTS_OVERLAP = 10065
CONSUMER_MISSING = 10014
CONSUMER_EXISTS = frozenset({10013, 10148})
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})


class StreamError(BrokerError):
    """The server refused a call; `number` is its own error number."""

    number = 0


class Stored(msgspec.Struct, frozen=True):
    """One stored message."""

    seq: int
    subject: str
    payload: bytes
    deleted: bool = False
    """Whether it is the mark of a deleted key."""


class Page(msgspec.Struct, frozen=True):
    """Stored messages in order; `pending` is how many more there are behind them."""

    entries: list[Stored]
    pending: int = 0


class StreamConfig(msgspec.Struct, frozen=True):
    """What we read of a stream's configuration."""

    name: str = ""
    metadata: dict[str, str] = {}


class StreamState(msgspec.Struct, frozen=True):
    """What we read of a stream's state; `subjects` counts the messages of each."""

    subjects: dict[str, int] = {}


class StreamInfo(msgspec.Struct, frozen=True):
    """Answer of `STREAM.INFO`; `total` is the number of subjects over all pages."""

    config: StreamConfig = StreamConfig()
    state: StreamState = StreamState()
    total: int = 0


class StreamList(msgspec.Struct, frozen=True):
    """Answer of `STREAM.LIST`."""

    streams: list[StreamInfo] | None = None


class Accepted(msgspec.Struct, frozen=True):
    """An answer of which only matters that it is no refusal."""


class _Fault(msgspec.Struct, frozen=True):
    description: str = ""
    code: int = 0
    err_code: int = 0


class _Answer(msgspec.Struct, frozen=True):
    error: _Fault | None = None
    seq: int = 0


def _raise(what: str, fault: _Fault) -> NoReturn:
    if fault.code == 503:
        raise BrokerDownError(what, why=fault.description, retryable=True)
    error = StreamError(what, why=fault.description)
    error.number = fault.err_code
    raise error


async def call(connection: Connection, verb: str, body: Mapping[str, object] | None = None) -> None:
    """Call `$JS.API.<verb>`; raises as `query`."""
    await query(connection, verb, Accepted, body)


async def query(
    connection: Connection, verb: str, answer: type[T], body: Mapping[str, object] | None = None
) -> T:
    """Call `$JS.API.<verb>` and give its answer.

    Raises:
        StreamError: the server says no.
        BrokerDownError: there is no JetStream, or it is not up yet.
        BusTimeoutError: no answer.
    """
    message = await connection.ask(
        f"$JS.API.{verb}", msgspec.json.encode(body or {}), timeout_s=API_S_MAX
    )
    if fault := msgspec.json.decode(message.data, type=_Answer).error:
        _raise(f"the server refuses {verb}", fault)
    return msgspec.json.decode(message.data, type=answer)


async def store(
    connection: Connection,
    subject: str,
    payload: bytes,
    *,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Publish into whichever stream holds `subject` and give the sequence once it is stored.

    Raises:
        StreamError: it was not stored.
        BrokerDownError: no stream holds the subject, or there is no connection; it was not stored.
        BusTimeoutError: whether it was stored is unknown.
    """
    acknowledged = await connection.ask(subject, payload, timeout_s=API_S_MAX, headers=headers)
    try:
        answer = msgspec.json.decode(acknowledged.data, type=_Answer)
    except msgspec.DecodeError as fault:
        raise StreamError(
            f"{subject} is not stored", why="the answer is no acknowledgement"
        ) from fault
    if answer.error is not None:
        _raise(f"{subject} is not stored", answer.error)
    return answer.seq


async def last(connection: Connection, stream: str, subject: str) -> Stored | None:
    """Read the newest message of a subject, which may hold wildcards."""
    answer = await connection.ask(
        f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode({"last_by_subj": subject})
    )
    if status_of(answer) == 404:
        return None
    if status_of(answer):
        raise _bad_status(stream, answer)
    return _stored(answer)


async def read_page(
    connection: Connection, stream: str, subject: str, *, after: int = 0, most: int = BATCH_MAX
) -> Page:
    """Read up to `most` messages of a subject above a sequence, oldest first.

    Raises:
        BusTimeoutError: the answer did not come, or came with a gap.
        BrokerDownError: there is no such stream, or no connection.
    """
    api = f"$JS.API.DIRECT.GET.{stream}"
    ask = {"next_by_subj": subject, "seq": after + 1, "batch": most}
    with connection.collect(api) as answers:
        await connection.publish(api, msgspec.json.encode(ask), reply=answers.reply)
        with anyio.move_on_after(API_S_MAX):
            return await page_of(stream, answers)
    raise _incomplete(stream)


async def read_all(
    connection: Connection, stream: str, subject: str, *, after: int = 0
) -> list[Stored]:
    """Read every message of a subject above a sequence, oldest first; raises as `read_page`."""
    entries: list[Stored] = []
    while True:
        page = await read_page(connection, stream, subject, after=after)
        entries += page.entries
        if not page.pending or not page.entries:
            return entries
        after = page.entries[-1].seq


async def subjects_of(connection: Connection, stream: str, pattern: str) -> list[str]:
    """List the subjects below `pattern` of which the stream holds a message."""
    found: list[str] = []
    while True:
        body = {"subjects_filter": pattern, "offset": len(found)}
        info = await query(connection, f"STREAM.INFO.{stream}", StreamInfo, body)
        found += info.state.subjects
        if not info.state.subjects or len(found) >= info.total:
            return found


async def page_of(stream: str, answers: Answers) -> Page:
    """Take the answers to one batched read, up to the mark that ends them; raises as `read_page`."""
    entries: list[Stored] = []
    previous = 0
    while True:
        message = await answers.next()
        assert message is not None
        status = status_of(message)
        if status == 404:
            return Page(entries)
        if status not in {0, 204}:
            raise nobody(answers.subject) if status == 503 else _bad_status(stream, message)
        # Each message names the one before it, so that one lost on the way is noticed.
        if int(header_of(message, "Nats-Last-Sequence") or 0) != previous:
            raise _incomplete(stream)
        if status == 204:
            return Page(entries, int(header_of(message, "Nats-Num-Pending") or 0))
        entries.append(_stored(message))
        previous = entries[-1].seq


def _stored(message: Msg) -> Stored:
    return Stored(
        seq=int(header_of(message, "Nats-Sequence")),
        subject=header_of(message, "Nats-Subject"),
        payload=message.data,
        deleted=header_of(message, "KV-Operation") in {"DEL", "PURGE"},
    )


def _bad_status(stream: str, message: Msg) -> StreamError:
    why = f"{status_of(message)} {header_of(message, 'Description')}"
    return StreamError(f"cannot read the stream {stream}", why=why)


def _incomplete(stream: str) -> BusTimeoutError:
    return BusTimeoutError(
        f"the stream {stream} was not read to its end", why="messages were lost", retryable=True
    )
