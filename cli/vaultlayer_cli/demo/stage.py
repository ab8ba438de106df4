"""What a person sees of a demonstration: a live table on a screen, plain lines in a pipe."""

import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from vaultlayer.driver import Offer
from vaultlayer.job import Job
from vaultlayer.messages import Progress
from vaultlayer_cli.demo.ledger import (
    LEDGER_COLUMNS,
    OFFER_COLUMNS,
    CloudFigures,
    ledger_cells,
    offer_cells,
    offer_rows,
)
from vaultlayer_cli.demo.story import AttemptRow, Figures, rows
from vaultlayer_cli.events_text import QUIET, style_of
from vaultlayer_cli.reading import EventReader, Happened, Printed
from vaultlayer_cli.render import entry_text
from vaultlayer_cli.table import print_table
from vaultlayer_cli.units import usd_text

LINES = 9
REFRESH_HZ = 8
COLUMNS = (
    "attempt",
    "provider",
    "steps",
    "resumed from",
    "detect",
    "takeover",
    "restore",
    "first new step",
)


class Stage:
    """Follows one job for a demonstration; used as a context, and as a follower's view."""

    def __init__(self, steps: int, title: str) -> None:
        self.steps = steps
        self.title = title
        self.step = 0
        self.attempt = 0
        self.loss: float | None = None
        self.killed_at: dict[int, float] = {}
        self.seen_step: dict[int, int] = {}
        self.uninterrupted = ""
        self.resumed = ""
        self._reader = EventReader()
        self._seen: list[Happened] = []
        self._since = 0.0
        self._lines: deque[Text] = deque(maxlen=LINES)
        self._on_screen = sys.stdout.isatty()
        self._console = Console(file=sys.stdout, highlight=False, markup=False)
        self._began_s = time.monotonic()
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REFRESH_HZ,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Take the screen, when there is one."""
        if self._on_screen:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        if self._on_screen:
            self._live.stop()

    @property
    def job(self) -> Job | None:
        """The fold of all that happened."""
        return self._reader.job

    # A follower's view ----------------------------------------------------------------------------

    def bind(self, reader: EventReader) -> None:
        """Take the fold from the follower's own reader."""
        self._reader = reader

    def happened(self, entry: Happened) -> None:
        """One log entry."""
        self._since = self._since or entry.at
        if entry.kind not in QUIET:
            style = style_of(entry.event) if entry.event else ""
            self.line(entry_text(entry, self._since), style)

    def printed(self, output: Printed) -> None:
        """The script's own output is not the story here."""

    def progressed(self, attempt: int, progress: Progress) -> None:
        """Where the script is."""
        if progress.step is not None and attempt >= self.attempt:
            self.attempt, self.step = attempt, progress.step
            self.seen_step[attempt] = progress.step
        self.loss = self.loss if progress.loss is None else progress.loss

    def told(self, text: str) -> None:
        """Something about the connection, or by the demonstration itself."""
        self.line(text, "yellow")

    # Drawing --------------------------------------------------------------------------------------

    def line(self, text: str, style: str = "") -> None:
        """Show one line of the story."""
        if self._on_screen:
            self._lines.append(Text(text, style=style, overflow="ellipsis", no_wrap=True))
        else:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def _draw(self) -> RenderableType:
        job = self.job
        parts: list[RenderableType] = [self._bars(job)]
        if job is not None and job.attempts:
            parts.append(attempts_table(rows(job, self.killed_at, self.seen_step)))
        parts.append(Group(*self._lines))
        return Panel(
            Group(*parts),
            title=f"VaultLayer: {self.title}",
            border_style="cyan",
        )

    def _bars(self, job: Job | None) -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(justify="right", style="bold")
        grid.add_column(width=40)
        grid.add_column()
        status = job.status if job else "starting"
        loss = f"  loss {self.loss:.3f}" if self.loss is not None else ""
        grid.add_row(
            "with VaultLayer",
            ProgressBar(total=self.steps, completed=self.step, width=40),
            Text(f"step {self.step}/{self.steps}{loss}  {status}"),
        )
        done = Text("finished", style="green") if self.uninterrupted else Spinner("dots")
        grid.add_row(
            "uninterrupted", done, Text(f"{time.monotonic() - self._began_s:.0f} s so far")
        )
        return grid


def show_offers(offers: Sequence[Offer]) -> None:
    """Show what was compared before anything was ordered, cheapest first."""
    print_table(OFFER_COLUMNS, [offer_cells(row) for row in offer_rows(offers)])


def show_ledger(found: CloudFigures) -> None:
    """Show what each attempt has cost, and what the providers themselves have billed."""
    print_table(LEDGER_COLUMNS, [ledger_cells(row) for row in found.ledger])
    told = ", ".join(f"{name} {usd_text(usd)}" for name, usd in found.provider_usd.items())
    left = f"{found.still_billed} machines are STILL BILLED" if found.still_billed else "none left"
    sys.stdout.write(f"the providers' own books: {told}; machines: {left}\n")
    sys.stdout.write("our meter runs on until a provider has said twice that a machine is gone\n")


def show_figures(figures: Figures) -> None:
    """Show the table and the two digests."""
    console = Console(file=sys.stdout, highlight=False, markup=False)
    console.print(attempts_table(figures.attempts))
    console.print(f"final weights, uninterrupted   {figures.digest_uninterrupted}", soft_wrap=True)
    console.print(f"final weights, resumed         {figures.digest_resumed}", soft_wrap=True)
    verdict = "identical, bit for bit" if figures.identical else "DIFFERENT"
    style = "green bold" if figures.identical else "red bold"
    console.print(Text(f"{verdict}; cost ${figures.cost_usd:.4f}", style=style))


def attempts_table(found: list[AttemptRow]) -> Table:
    """Give the table of attempts; seconds count from the kill of the one before."""
    table = Table(*COLUMNS, box=None, header_style="dim", pad_edge=False)
    for row in found:
        steps = f"{row.first_step or '…'}-{row.last_step or '…'}"
        resumed = f"step {row.resumed_from_step}" if row.resumed_from_step is not None else "start"
        seconds = (row.detect_s, row.takeover_s, row.restore_s, row.first_new_step_s)
        table.add_row(
            str(row.attempt), row.provider, steps, resumed, *(_seconds(one) for one in seconds)
        )
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"
