"""Which watcher listens for notices on whose machines; the file, which drills write, is heard everywhere."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from vaultlayer_agent.notice import POLL_S, Notice, Watcher, fresh_in_file, watch_file

AWS_EVERY_S = 5.0
"""What Amazon recommends."""
GCE_EVERY_S = 1.0
"""Of thirty seconds none may be wasted."""

Look = Callable[[], Notice | None]
"""Asks a metadata service once."""


async def watch_metadata(
    make_look: Callable[[], Look], every_s: float, state: Path
) -> AsyncIterator[Notice]:
    """Give what the metadata service says, and what appears in the file, once for each content.

    Args:
        make_look: makes what asks the service; called once, on first use.
        every_s: from one question to the next.
        state: the agent's state directory.
    """
    look = make_look()
    told: str = ""
    last: Notice | None = None
    due_s = 0.0
    while True:
        last, fresh = fresh_in_file(state, last)
        if fresh is not None:
            yield fresh
        if anyio.current_time() >= due_s:
            # A question may hang for seconds, and the machine may be ended meanwhile.
            found = await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
            if found is not None and found.source != told:
                told = found.source
                yield found
            due_s = anyio.current_time() + every_s
        await anyio.sleep(min(POLL_S, every_s))


def _aws() -> Look:
    from vaultlayer_agent.metadata import AwsLook, base_url  # noqa: PLC0415  only its machines need it

    return AwsLook(base_url())


def _gce() -> Look:
    from vaultlayer_agent.metadata import GceLook, base_url  # noqa: PLC0415  only its machines need it

    return GceLook(base_url())


NOTICES: dict[str, Watcher] = {
    "aws": partial(watch_metadata, _aws, AWS_EVERY_S),
    "gcp": partial(watch_metadata, _gce, GCE_EVERY_S),
}


def watcher_of(provider: str) -> Watcher:
    """Give what watches for notices on machines of this provider."""
    return NOTICES.get(provider, watch_file)
