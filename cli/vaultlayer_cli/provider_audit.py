"""What stands at the providers under our tag, what the log knows of it, and what it costs."""

import time
from collections.abc import Sequence

from vaultlayer import subjects
from vaultlayer.messages import AuditReplies, AuditRequest, AuditRow
from vaultlayer_cli.connect import session
from vaultlayer_cli.table import Column, print_table
from vaultlayer_cli.terminal import print_json, say
from vaultlayer_cli.units import duration_text, usd_text

COLUMNS = (
    Column("PROVIDER"),
    Column("MACHINE", least=12),
    Column("NAME"),
    Column("STATE"),
    Column("PRICE/H", is_number=True),
    Column("AGE", is_number=True, is_optional=True),
    Column("SO FAR", is_number=True, is_optional=True),
    Column("THE LOG SAYS", least=12),
)
AUDIT_S = 40.0
HOUR_S = 3600.0


async def audit(names: Sequence[str], *, as_json: bool) -> int:
    """Print a line a machine; the exit status is 1 when a provider could not be asked."""
    async with session() as opened:
        replies = await opened.bus.request(
            subjects.AUDIT, AuditRequest(providers=list(names)), AuditReplies, timeout_s=AUDIT_S
        )
    rows = [row for reply in replies.replies for row in reply.rows]
    faults = [reply for reply in replies.replies if reply.fault]
    if as_json:
        for row in rows:
            print_json({"type": "machine", **as_dict(row, time.time())})
        for reply in faults:
            print_json({"type": "fault", "provider": reply.provider, "reason": reply.fault})
        return 1 if faults else 0
    if rows:
        print_table(COLUMNS, [cells(row, time.time()) for row in rows], [style(r) for r in rows])
    for reply in faults:
        say(f"{reply.provider} cannot be asked: {reply.fault}")
    say(summary(rows))
    return 1 if faults else 0


def as_dict(row: AuditRow, now_s: float) -> dict[str, object]:
    """Give a machine's fields, with its age and what it has cost by now."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__}
    age_s = max(0.0, now_s - row.since) if row.since else None
    spent_usd = row.price_usd_h * age_s / HOUR_S if age_s is not None else None
    return {**fields, "age_s": age_s, "spent_usd": spent_usd}


def cells(row: AuditRow, now_s: float) -> list[str]:
    """Give the cells of one machine."""
    age_s = max(0.0, now_s - row.since) if row.since else None
    return [
        row.provider,
        row.instance,
        row.name,
        row.state,
        usd_text(row.price_usd_h),
        duration_text(age_s) if age_s is not None else "?",
        usd_text(row.price_usd_h * age_s / HOUR_S) if age_s is not None else "?",
        f"unknown: {row.unknown}" if row.unknown else row.phase,
    ]


def style(row: AuditRow) -> list[str]:
    """Mark what nobody wants."""
    return [""] * 7 + ["red" if row.unknown else "dim"]


def summary(rows: Sequence[AuditRow]) -> str:
    """Say in one line what stands there and what becomes of what nobody wants."""
    unknown = sum(1 for row in rows if row.unknown)
    price = usd_text(sum(row.price_usd_h for row in rows))
    head = f"{len(rows)} machines with our tag, {price}/h"
    if not unknown:
        return f"{head}, all known to the log"
    return f"{head}, {unknown} unknown: the sweeper ends them within two minutes"
