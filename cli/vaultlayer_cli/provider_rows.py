"""One line a provider: allowed, keyed, what it says of itself now."""

import time
from collections.abc import Sequence

import anyio
import msgspec

from vaultlayer import subjects
from vaultlayer.driver import Manifest, Need, OfferList
from vaultlayer.errors import VaultLayerError
from vaultlayer.messages import AccountReplies, AccountsRequest, OffersReply, OffersRequest
from vaultlayer.settings import Home, load_settings
from vaultlayer_cli.connect import session
from vaultlayer_cli.provider_keys import held_fields
from vaultlayer_cli.providers import installed_drivers, load_driver
from vaultlayer_cli.sweep.records import Record, path_of, read, verdict
from vaultlayer_cli.table import Column
from vaultlayer_cli.units import ago_text, usd_text

COLUMNS = (
    Column("PROVIDER"),
    Column("ALLOWED"),
    Column("KEY"),
    Column("BALANCE", is_number=True),
    Column("KINDS"),
    Column("NOTICE", is_number=True, is_optional=True),
    Column("OFFERS", is_number=True),
    Column("VALIDATED"),
    Column("SWEPT", is_number=True, is_optional=True),
    Column("SAYS", least=12),
)
ANSWER_S = 3.0


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one provider."""

    provider: str
    title: str
    allowed: bool
    key: str
    """`held`, `missing`, `unknown` (nobody can tell just now), or `none needed`."""
    balance_usd: float | None
    """None: its API does not tell, or it was not asked."""
    spot: bool
    notice_s: float
    billing_step_s: float
    offers: int | None
    """None: not asked, because it is not allowed or no broker runs."""
    validated: str = "never"
    """By the smoke jobs of `sweep`: `live`, `simulated`, `failed` or `never`."""
    swept_at: float = 0.0
    """Unix seconds of the last sweep; 0: never."""
    says: str = ""


async def gather(home: Home) -> list[ProviderRow]:
    """Ask configuration, vault and pools; whoever does not answer is left out of its columns."""
    settings = load_settings(home.config_file)
    lists: dict[str, OfferList] | None = None
    fields: dict[str, list[str]] | None = None
    balances: dict[str, float | None] = {}

    async def ask_accounts() -> None:
        balances.update(await _balances(home))

    async def ask_pools() -> None:
        nonlocal lists
        lists = await _offers(home)

    async def ask_vault() -> None:
        nonlocal fields
        fields = await _held(home)

    async with anyio.create_task_group() as group:
        group.start_soon(ask_pools)
        group.start_soon(ask_vault)
        group.start_soon(ask_accounts)
    names = sorted({*installed_drivers(), *settings.providers})
    records = read(path_of(home))
    rows = [_row(name, name in settings.allowed, lists, fields, records) for name in names]
    return [msgspec.structs.replace(r, balance_usd=balances.get(r.provider)) for r in rows]


async def _balances(home: Home) -> dict[str, float | None]:
    try:
        async with session(home) as opened:
            reply = await opened.bus.request(
                subjects.ACCOUNTS, AccountsRequest(), AccountReplies, timeout_s=ANSWER_S
            )
    except VaultLayerError:
        return {}
    return {one.provider: one.account.balance_usd for one in reply.replies}


async def _offers(home: Home) -> dict[str, OfferList] | None:
    try:
        async with session(home) as opened:
            reply = await opened.bus.request(
                subjects.OFFERS, OffersRequest(need=Need()), OffersReply, timeout_s=ANSWER_S
            )
    except VaultLayerError:
        return None
    return {one.provider: one for one in reply.lists}


async def _held(home: Home) -> dict[str, list[str]] | None:
    try:
        return await held_fields(home)
    except VaultLayerError:
        return None


def _row(
    name: str,
    allowed: bool,
    lists: dict[str, OfferList] | None,
    fields: dict[str, list[str]] | None,
    records: Sequence[Record],
) -> ProviderRow:
    says = ""
    try:
        manifest = load_driver(name).manifest
    except VaultLayerError as error:
        manifest, says = Manifest(name=name), error.what
    answer = lists.get(name) if lists is not None and allowed else None
    if answer is not None:
        says = answer.refusal or says
    return ProviderRow(
        provider=name,
        title=manifest.title,
        allowed=allowed,
        key=_key(manifest, fields),
        balance_usd=None,
        spot=manifest.can_spot,
        notice_s=manifest.notice_s,
        billing_step_s=manifest.billing_step_s,
        offers=len(answer.offers) if answer is not None else None,
        validated=verdict(records, name),
        swept_at=max((one.at for one in records if one.provider == name), default=0.0),
        says=says,
    )


def _key(manifest: Manifest, fields: dict[str, list[str]] | None) -> str:
    if not manifest.needs_keys:
        return "none needed"
    if fields is None:
        return "unknown"
    held = set(fields.get(manifest.name, []))
    return "held" if held >= set(manifest.keys) and held else "missing"


def cells(row: ProviderRow) -> list[str]:
    """Give the cells of one provider."""
    return [
        row.provider,
        "yes" if row.allowed else "no",
        row.key,
        "" if row.balance_usd is None else usd_text(row.balance_usd),
        "on demand, spot" if row.spot else "on demand",
        f"{row.notice_s:g}s" if row.notice_s else "",
        "" if row.offers is None else str(row.offers),
        row.validated,
        ago_text(row.swept_at, time.time()) if row.swept_at else "",
        row.says or row.title,
    ]


def styles(row: ProviderRow) -> Sequence[str]:
    """Give the colours of one provider's cells."""
    bad = row.allowed and row.key == "missing"
    allowed = "green" if row.allowed else "dim"
    validated = {"live": "green", "failed": "red"}.get(row.validated, "dim")
    key = "red" if bad else ""
    return [
        "bold" if row.allowed else "",
        allowed,
        key,
        "",
        "dim",
        "dim",
        "",
        validated,
        "dim",
        "dim",
    ]
