"""Where a machine learns that it will be taken: a file that drills and providers' scripts write.

Providers whose machines are told by a metadata service have watchers of their own: see `watchers`.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import msgspec

from vaultlayer.logging import get_logger

FILE_NAME = "notice.json"
POLL_S = 0.25
SIGTERM_GRACE_S = 30.0
"""After SIGTERM, unless the provider is known to be quicker."""

SIGTERM_GRACES_S = {"runpod": 5.0}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """The machine will be taken in `grace_s` seconds."""

    grace_s: float
    source: str = "file"


Watcher = Callable[[Path], AsyncIterator[Notice]]
"""Takes the agent's state directory and gives notices as they come, until it is cancelled."""


def read_notice(path: Path) -> Notice | None:
    """Read a notice file; None when there is none, or not a whole one yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Notice)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        get_logger().warning("notice_unreadable", why=type(error).__name__)
        return None


async def watch_file(state: Path) -> AsyncIterator[Notice]:
    """Give what appears in `<state>/notice.json`, once for each content."""
    last: Notice | None = None
    while True:
        last, fresh = fresh_in_file(state, last)
        if fresh is not None:
            yield fresh
        await anyio.sleep(POLL_S)


def fresh_in_file(state: Path, last: Notice | None) -> tuple[Notice | None, Notice | None]:
    """Give what the file says now, and the same again where it differs from the last time."""
    notice = read_notice(state / FILE_NAME)
    return notice, notice if notice != last else None


def sigterm_grace_s(provider: str) -> float:
    """Give how long this provider waits between SIGTERM and SIGKILL, as far as it is known."""
    return SIGTERM_GRACES_S.get(provider, SIGTERM_GRACE_S)
