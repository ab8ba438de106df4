"""Where a machine learns that it will be taken: one small watcher a kind of provider.

`NOTICES` maps a provider's name to what watches on its machines; a provider that is not listed has the
file, which drills write too.
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
    path = state / FILE_NAME
    last: Notice | None = None
    while True:
        notice = read_notice(path)
        if notice is not None and notice != last:
            yield notice
        last = notice
        await anyio.sleep(POLL_S)


NOTICES: dict[str, Watcher] = {}


def watcher_of(provider: str) -> Watcher:
    """Give what watches for notices on machines of this provider."""
    return NOTICES.get(provider, watch_file)


def sigterm_grace_s(provider: str) -> float:
    """Give how long this provider waits between SIGTERM and SIGKILL, as far as it is known."""
    return SIGTERM_GRACES_S.get(provider, SIGTERM_GRACE_S)
