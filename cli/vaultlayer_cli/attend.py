"""Being attached to a job: everything is shown as it comes; Ctrl-C lets go, and the job goes on."""

import contextlib
import signal
import sys
from contextlib import AbstractContextManager

import anyio

from vaultlayer.bus.protocol import Bus
from vaultlayer.ids import JobId
from vaultlayer_cli import exit_codes
from vaultlayer_cli.follow import Follower, View
from vaultlayer_cli.render import JsonView, PlainView, farewell
from vaultlayer_cli.terminal import is_screen, say


def view_for(*, as_json: bool) -> AbstractContextManager[View]:
    """Choose how to show a job on the present stdout and stderr."""
    if as_json:
        return contextlib.nullcontext(JsonView())
    if is_screen(sys.stdout) and is_screen(sys.stderr):
        from vaultlayer_cli.live import LiveView  # noqa: PLC0415  rich only where there is a screen

        return LiveView()
    return contextlib.closing(PlainView())


async def attend(bus: Bus, job: JobId, *, as_json: bool, lines: int | None = None) -> int:
    """Show a job from its beginning to its end; give the exit status of its script.

    Args:
        bus: of a session.
        job: which.
        as_json: objects instead of lines.
        lines: of the output that is there already, only the last so many; None for all.

    Raises:
        JobUnknownError: there is no such job.
        BrokerDownError: the broker was away for too long.
    """
    with view_for(as_json=as_json) as view:
        follower = Follower(bus, job, view)
        is_over = await _until_let_go(follower, lines)
    found = follower.events.job
    if not is_over or found is None:
        if not as_json:
            _tell_detached(job)
        return exit_codes.DETACHED
    if not as_json:
        for line in farewell(found):
            say(line)
    return found.exit_code


async def _until_let_go(follower: Follower, lines: int | None) -> bool:
    """Follow; tells whether the job came to its end before the person let go."""
    is_over = False
    async with anyio.create_task_group() as group:

        async def listen() -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    group.cancel_scope.cancel()
                    return

        group.start_soon(listen)
        await follower.replay(lines)
        await follower.run()
        is_over = True
        group.cancel_scope.cancel()
    return is_over


def _tell_detached(job: JobId) -> None:
    say(f"detached; {job} goes on")
    say(f"come back: vaultlayer watch {job}")
    say(f"stop it:   vaultlayer cancel {job}")
