"""`vaultlayer events`."""

import sys
import time
from typing import Annotated

import typer

from vaultlayer.messages import Progress
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.events_text import event_text, style_of
from vaultlayer_cli.follow import Follower
from vaultlayer_cli.names import find_job
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.options import Job as JobArgument
from vaultlayer_cli.reading import Happened, Printed
from vaultlayer_cli.render import elapsed_text, entry_object
from vaultlayer_cli.terminal import has_colour, paint, print_json, say


def events(
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job is over.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print a job's log: every entry, with its time and cause.

    Each line has the local time, the time since the job was submitted, the kind of entry, what happened, and
    which actor wrote it.
    """
    run_async(_events, job, follow, as_json)


async def _events(wanted: str, follow: bool, as_json: bool) -> None:
    async with session() as opened:
        job = await find_job(opened.bus, wanted)
        view = EventsView(as_json=as_json)
        follower = Follower(opened.bus, job, view)
        for entry in await follower.read_events():
            view.happened(entry)
        if follow:
            await follower.run()


class EventsView:
    """Entries only."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._since = 0.0

    def happened(self, entry: Happened) -> None:
        """One log entry."""
        if self._as_json:
            print_json(entry_object(entry))
            return
        self._since = self._since or entry.at
        sys.stdout.write(entry_line(entry, self._since, colour=has_colour(sys.stdout)) + "\n")
        sys.stdout.flush()

    def printed(self, output: Printed) -> None:
        """Nothing: this is the log of the job."""

    def progressed(self, attempt: int, progress: Progress) -> None:
        """Nothing."""

    def told(self, text: str) -> None:
        """Something about the connection."""
        if not self._as_json:
            say(text)


def entry_line(entry: Happened, since: float, *, colour: bool) -> str:
    """Give one entry with its local time, its time since the beginning, and its writer."""
    clock = time.strftime("%H:%M:%S", time.localtime(entry.at)) if entry.at else " " * 8
    text = event_text(entry.event) if entry.event else "(a kind that this version does not know)"
    style = style_of(entry.event) if entry.event else ""
    actor = entry.event.actor if entry.event else ""
    tail = paint(f"  [{actor}]", "dim", colour=colour) if actor else ""
    head = f"{clock} {elapsed_text(entry.at, since):>8}  {entry.kind:<20}"
    return f"{head} {paint(text, style, colour=colour)}{tail}"
