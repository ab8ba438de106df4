"""What a demonstration over clouds has compared and paid: the price table, and a line an attempt. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from vaultlayer.driver import Offer
from vaultlayer.job import Job
from vaultlayer_cli.demo.story import Figures
from vaultlayer_cli.table import Column
from vaultlayer_cli.units import duration_text, kind_text, usd_text

HOUR_S = 3600.0

OFFER_COLUMNS = (
    Column("PROVIDER"),
    Column("KIND"),
    Column("MACHINE/H", is_number=True),
    Column("DISK/H", is_number=True),
    Column("ALL-IN/H", is_number=True),
    Column("BILLED BY", is_number=True),
    Column("REGION", is_optional=True),
    Column("DETAIL", least=8),
)
LEDGER_COLUMNS = (
    Column("ATTEMPT", is_number=True),
    Column("PROVIDER"),
    Column("KIND"),
    Column("PRICE/H", is_number=True),
    Column("BILLED", is_number=True),
    Column("COST", is_number=True),
    Column("HOW IT ENDED", least=12),
)


class OfferRow(msgspec.Struct, frozen=True, kw_only=True):
    """One offer that was compared; prices in dollars an hour."""

    provider: str
    offer_id: str
    spot: bool
    machine_usd_h: float
    disk_usd_h: float
    price_usd_h: float
    """All in: machine, disk, and the share of what is billed beyond use."""
    billing_step_s: float
    region: str
    detail: str


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt has cost by the job's log."""

    attempt: int
    provider: str
    spot: bool
    price_usd_h: float
    billed_s: float
    cost_usd: float
    ended: str


class CloudFigures(Figures, frozen=True, kw_only=True):
    """The last line of a demonstration over clouds, as one JSON object."""

    hops: list[str]
    """The providers on which the script ran, in order."""
    offers: list[OfferRow]
    ledger: list[LedgerRow]
    provider_usd: dict[str, float]
    """What each simulated provider itself says that it has billed."""
    still_billed: int
    """Machines that the providers go on billing after the job's end."""

    @property
    def is_good(self) -> bool:
        """Whether the promise was kept: the same weights after a hop, and nothing left behind."""
        return self.identical and len(self.hops) > 1 and self.still_billed == 0


def offer_rows(offers: Sequence[Offer]) -> list[OfferRow]:
    """Give the price table, cheapest first."""
    ranked = sorted(offers, key=lambda one: (one.price_usd_h, one.provider, one.offer_id))
    return [
        OfferRow(
            provider=one.provider,
            offer_id=one.offer_id,
            spot=one.spot,
            machine_usd_h=one.parts.machine_usd_h if one.parts else one.price_usd_h,
            disk_usd_h=one.parts.disk_usd_h if one.parts else 0.0,
            price_usd_h=one.price_usd_h,
            billing_step_s=one.parts.billing_step_s if one.parts else 0.0,
            region=one.region,
            detail=one.detail,
        )
        for one in ranked
    ]


def ledger_rows(job: Job) -> list[LedgerRow]:
    """Give a line for each attempt that was ordered, also those that got no machine."""
    return [
        LedgerRow(
            attempt=one.number,
            provider=one.provider,
            spot=one.offer.spot,
            price_usd_h=one.price_usd_h or one.offer.price_usd_h,
            billed_s=round(one.billed_s, 1),
            cost_usd=round(one.cost_usd, 6),
            ended=f"{one.end}: {one.end_reason}" if one.end_reason else str(one.end),
        )
        for one in job.attempts.values()
    ]


def hops(job: Job) -> list[str]:
    """Give the providers on which the script ran, in order; staying is no hop."""
    found: list[str] = []
    for one in job.attempts.values():
        if one.started_at and (not found or found[-1] != one.provider):
            found.append(one.provider)
    return found


def offer_cells(row: OfferRow) -> list[str]:
    """Give the cells of one offer."""
    return [
        row.provider,
        kind_text(spot=row.spot),
        usd_text(row.machine_usd_h),
        usd_text(row.disk_usd_h) if row.disk_usd_h else "in it",
        usd_text(row.price_usd_h),
        duration_text(row.billing_step_s),
        row.region,
        row.detail,
    ]


def ledger_cells(row: LedgerRow) -> list[str]:
    """Give the cells of one attempt."""
    return [
        str(row.attempt),
        row.provider,
        kind_text(spot=row.spot),
        usd_text(row.price_usd_h),
        duration_text(row.billed_s) if row.billed_s else "no machine",
        usd_text(row.cost_usd),
        row.ended,
    ]


def with_ledger(
    plain: Figures, job: Job, offers: Sequence[Offer], states: Mapping[str, Mapping[str, object]]
) -> CloudFigures:
    """Add what was compared and paid to a demonstration's figures.

    Args:
        plain: what every demonstration tells.
        job: the folded job, its books closed.
        offers: what was on offer when it began.
        states: each simulated provider's own account, as `/_sim/state` gives it.
    """
    fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
    billed = [one for state in states.values() for one in _listed(state.get("billed"))]
    return CloudFigures(
        **fields,
        hops=hops(job),
        offers=offer_rows(offers),
        ledger=ledger_rows(job),
        provider_usd={
            name: round(float(str(s.get("total_usd", 0.0))), 6) for name, s in states.items()
        },
        still_billed=len(billed),
    )


def _listed(value: object) -> list[str]:
    return msgspec.convert(value or [], list[str])
