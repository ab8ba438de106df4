"""The live view on a screen: output and events scroll above, one status bar stays below."""

import re
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vaultlayer import events as ev
from vaultlayer.fold import fold
from vaultlayer.job import Job, spent_usd
from vaultlayer.messages import Progress
from vaultlayer_cli.events_text import QUIET, style_of
from vaultlayer_cli.reading import AGENT, Happened, Lines, Printed, is_echo
from vaultlayer_cli.render import agent_text, counted, entry_text, missing_text
from vaultlayer_cli.terminal import STATUS_STYLES, mark
from vaultlayer_cli.units import duration_text, usd_text

REFRESH_HZ = 5
BAR_MIN, BAR_MAX = 10, 40
STALE_S = 15.0
"""Progress older than this is shown with its age."""


class LiveView:
    """Shows one job on a terminal; used as a context."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stdout, highlight=False, markup=False)
        self._mark = mark(sys.stdout)
        self._lines = Lines()
        self._output_attempt = 0
        self._job: Job | None = None
        self._progress: Progress | None = None
        self._progress_attempt = 0
        self._progress_at = 0.0
        self._live = Live(
            console=self._console,
            get_renderable=self._status,
            refresh_per_second=REFRESH_HZ,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Take the bottom of the screen."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back, with what was left of the last line."""
        self._flush()
        self._live.stop()

    def happened(self, entry: Happened) -> None:
        """One log entry."""
        if entry.event is not None:
            self._job = fold(self._job, entry.event, entry.seq)
            if isinstance(entry.event, ev.Takeover):
                self._progress = None
        if entry.kind not in QUIET:
            since = self._job.submitted_at if self._job else 0.0
            self._say(entry_text(entry, since), style_of(entry.event) if entry.event else "")

    def printed(self, output: Printed) -> None:
        """Output of the script."""
        if output.missing_b:
            self.told(missing_text(output))
        if output.attempt != self._output_attempt:
            self._flush()
            self._output_attempt = output.attempt
        for line in self._lines.feed(output.text):
            if not line.startswith(AGENT):
                self._print(Text.from_ansi(line))
            elif not is_echo(line):
                self._say(agent_text(line.removeprefix(AGENT)), "dim")

    def _flush(self) -> None:
        for line in self._lines.flush():
            self._print(Text.from_ansi(line))

    def progressed(self, attempt: int, progress: Progress) -> None:
        """Where the script is just now."""
        if attempt >= self._progress_attempt:
            self._progress_attempt, self._progress = attempt, progress
            self._progress_at = time.monotonic()

    def told(self, text: str) -> None:
        """Something about the connection."""
        self._say(text, "yellow")

    def _say(self, text: str, style: str) -> None:
        time_, gap, words = split_time(text)
        row = Table.grid()
        row.add_column(no_wrap=True)
        row.add_column(overflow="fold")
        head = Text.assemble((f"{self._mark} ", "cyan"), (time_ + gap, "dim"))
        row.add_row(head, Text(words, style))
        self._console.print(row)

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)

    # The bar --------------------------------------------------------------------------------------

    def _status(self) -> RenderableType:
        rows: list[RenderableType] = []
        if self._lines.partial:
            partial = Text.from_ansi(self._lines.partial)
            partial.no_wrap, partial.overflow = True, "crop"
            rows.append(partial)
        if self._job is not None:
            rows.append(Text(""))
            rows.append(job_line(self._job, time.time()))
            if self._progress is not None and self._job.status in {"running", "suspect"}:
                age_s = time.monotonic() - self._progress_at
                rows.append(progress_line(self._progress, age_s, self._console.width))
        return Group(*rows)


def split_time(text: str) -> tuple[str, str, str]:
    """Give the time of an entry's line, the gap behind it, and its words; no time: only words."""
    found = re.match(r"( *\+\S+(?: \d\d[msh])?|       )(  )(.*)", text, re.DOTALL)
    return (found[1], found[2], found[3]) if found else ("", "", text)


def job_line(job: Job, now_s: float) -> Text:
    """Give the line of the job: id, state, age, newest attempt, provider, tier, checkpoints, cost."""
    style = STATUS_STYLES.get(job.status, "")
    parts: list[tuple[str, str]] = [
        (job.status, f"{style} bold"),
        (duration_text(now_s - job.submitted_at), ""),
    ]
    newest = job.newest
    if newest is not None:
        phase = "" if newest.number == job.active else f" {newest.phase.value}"
        parts.append((f"attempt {newest.number}{phase} on {newest.provider}", ""))
    if job.tier:
        parts.append((f"tier {job.tier}", ""))
    head = job.head
    if head is not None:
        at = f" (step {head.step})" if head.step is not None else ""
        parts.append((f"{counted(job.checkpoint_count, 'checkpoint')}{at}", ""))
    spent = spent_usd(job, now_s)
    if spent:
        parts.append((usd_text(spent), ""))
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f" {job.job} ", "bold")
    for number, (text, look) in enumerate(parts):
        line.append(" " if number == 0 else " · ", "dim")
        line.append(text, look)
    return line


def progress_line(progress: Progress, age_s: float, width: int) -> RenderableType:
    """Give the line of the script: a bar, step of steps, loss, steps a second, time left."""
    words: list[str] = []
    if progress.step is not None:
        of = f"/{progress.steps}" if progress.steps else ""
        words.append(f"step {progress.step}{of}")
    if progress.loss is not None:
        words.append(f"loss {progress.loss:.4g}")
    if progress.rate:
        words.append(f"{progress.rate:.3g} steps/s")
        if progress.steps and progress.step is not None:
            left = max(0, progress.steps - progress.step) / progress.rate
            words.append(f"{duration_text(left)} left")
    if progress.detail:
        words.append(progress.detail)
    elif progress.stage and progress.stage != "active":
        words.append(progress.stage)
    if not words:
        return Text("")
    if age_s > STALE_S:
        words.append(f"{duration_text(age_s)} old")
    text = Text(" · ".join(words), no_wrap=True, overflow="ellipsis")
    if not progress.steps or progress.step is None:
        return Text(" ").append_text(text)
    room = max(BAR_MIN, min(BAR_MAX, width - text.cell_len - 4))
    grid = Table.grid(padding=(0, 1))
    grid.add_row("", bar(progress.step / progress.steps, room), text)
    return grid


def bar(share: float, width: int) -> Text:
    """Give a bar of `width` cells, `share` of it done."""
    done = round(max(0.0, min(1.0, share)) * width)
    return Text.assemble(("━" * done, "green"), ("━" * (width - done), "bright_black"))
