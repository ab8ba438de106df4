"""What an attempt tells the broker while the script runs: started, stepped, tier. One after another."""

import anyio

from vaultlayer.errors import VaultLayerError
from vaultlayer.logging import get_logger
from vaultlayer.messages import CheckpointRef, Done, StartedReport, SteppedReport, TierReport
from vaultlayer_agent.link import Link
from vaultlayer_agent.output import Output

REPORTS_MAX = 100

Report = StartedReport | SteppedReport | TierReport


class Reports:
    """The reports of one attempt, whose script may be started more than once.

    Args:
        link: to the broker.
        output: where the tier is said too.
    """

    def __init__(self, link: Link, output: Output) -> None:
        self._link = link
        self._output = output
        self._outbox, self._inbox = anyio.create_memory_object_stream[tuple[str, Report]](
            REPORTS_MAX
        )
        self._starts = 0
        self._tiers = 0
        self.tier = ""
        """The newest that was told."""

    async def run(self) -> None:
        """Send reports one after another, each until it is answered; until cancelled."""
        async for verb, report in self._inbox:
            try:
                await self._link.ask(verb, report, Done)
            except VaultLayerError as error:
                get_logger().warning("report_refused", verb=verb, code=error.code, why=error.what)

    def started(self, resumed_from: CheckpointRef | None, step: int | None, took_s: float) -> None:
        """Tell that the script runs."""
        report = StartedReport(
            cmd_id=self._link.cmd_id("started", self._starts),
            incarnation=self._link.incarnation,
            resumed_from=resumed_from.manifest if resumed_from else "",
            resumed_step=step,
            restore_s=round(took_s, 3),
        )
        self._starts += 1
        self._put("started", report)

    def stepped(self, step: int) -> None:
        """Tell the first new optimizer step."""
        report = SteppedReport(
            cmd_id=self._link.cmd_id("stepped", self._starts - 1),
            incarnation=self._link.incarnation,
            step=step,
        )
        self._put("stepped", report)

    def found_tier(self, tier: str, detail: str, *, again: bool = False) -> None:
        """Tell how the job will resume, when that is news; `again`: what it means is."""
        if not tier or (tier == self.tier and not again):
            return
        self.tier = tier
        self._tiers += 1
        self._output.say(f"tier {tier}: {detail}")
        report = TierReport(
            cmd_id=self._link.cmd_id("tier", self._tiers),
            incarnation=self._link.incarnation,
            tier=tier,
            detail=detail,
        )
        self._put("tier", report)

    def _put(self, verb: str, report: Report) -> None:
        try:
            self._outbox.send_nowait((verb, report))
        except anyio.WouldBlock:
            get_logger().warning("report_dropped", verb=verb)
