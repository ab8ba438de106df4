"""`vaultlayer logs`."""

import sys
from typing import Annotated

import msgspec
import typer

from vaultlayer.errors import AttemptUnknownError
from vaultlayer.messages import Progress
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.follow import Follower
from vaultlayer_cli.names import find_job
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.options import Job as JobArgument
from vaultlayer_cli.reading import Happened, Printed
from vaultlayer_cli.render import missing_text
from vaultlayer_cli.state import read_job
from vaultlayer_cli.terminal import has_colour, paint, print_json, say


def logs(
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job is over.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the output of this attempt.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Without the lines that mark a new attempt.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print a job's output, one continuous log over all its machines."""
    run_async(_logs, job, follow, attempt or 0, raw, as_json)


async def _logs(wanted: str, follow: bool, attempt: int, raw: bool, as_json: bool) -> None:
    async with session() as opened:
        job = await find_job(opened.bus, wanted)
        if attempt:
            state = await read_job(opened.bus, job)
            if attempt > state.attempt_count:
                raise AttemptUnknownError(
                    f"job {job} has no attempt {attempt}",
                    why=f"it has had {state.attempt_count}",
                    mend=f"vaultlayer show {job}",
                )
        view = JsonLogView() if as_json else LogView(marks=not raw and not attempt)
        follower = Follower(opened.bus, job, view, attempt=attempt)
        if follow:
            await follower.run()
            return
        while True:
            page = await follower.logs_page()
            for output in follower.logs.take(page.logs):
                view.printed(output)
            if not page.more or not page.logs:
                return


class LogView:
    """Output only, with a line where another attempt begins."""

    def __init__(self, *, marks: bool) -> None:
        self._marks = marks
        self._attempt = 0
        self._is_mid_line = False

    def happened(self, entry: Happened) -> None:
        """Nothing: this is the log of the script."""

    def printed(self, output: Printed) -> None:
        """Output of the script."""
        out = sys.stdout
        if self._marks and output.attempt != self._attempt:
            line = paint(f"--- attempt {output.attempt} ---", "cyan", colour=has_colour(out))
            out.write("\n" + line + "\n" if self._is_mid_line else line + "\n")
        if output.missing_b:
            say(missing_text(output))
        self._attempt = output.attempt
        out.write(output.text)
        out.flush()
        self._is_mid_line = not output.text.endswith("\n")

    def progressed(self, attempt: int, progress: Progress) -> None:
        """Nothing."""

    def told(self, text: str) -> None:
        """Something about the connection."""
        say(text)


class JsonLogView(LogView):
    """One object a chunk."""

    def __init__(self) -> None:
        super().__init__(marks=False)

    def printed(self, output: Printed) -> None:
        """Output of the script."""
        print_json({"type": "output", **msgspec.to_builtins(output)})

    def told(self, text: str) -> None:
        """Nothing: a program is told by the exit status."""
