"""`vaultlayer offers`."""

from typing import Annotated

import typer

from vaultlayer import gpu as gpus
from vaultlayer import subjects
from vaultlayer.driver import Need, Offer
from vaultlayer.messages import OffersReply, OffersRequest
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.submit import OFFERS_S
from vaultlayer_cli.table import Column, print_table
from vaultlayer_cli.terminal import full, print_json, say
from vaultlayer_cli.units import duration_text, kind_text, size_text, usd_text

OLD_S = 15.0
"""A list older than that is told with its age."""

COLUMNS = (
    Column("PROVIDER"),
    Column("GPU"),
    Column("PRICE/H", is_number=True),
    Column("KIND"),
    Column("REGION"),
    Column("CPUS", is_number=True),
    Column("MEMORY", is_number=True),
    Column("DISK", is_number=True),
    Column("DETAIL", least=8),
)


def offers(
    gpu: Annotated[str, typer.Option(metavar="NAME[:N]", help="GPU, such as A100_40:2.")] = "",
    provider: Annotated[
        list[str] | None, typer.Option(metavar="P", help="Only of this provider; may be repeated.")
    ] = None,
    max_price: Annotated[
        float | None, typer.Option(metavar="USD", help="Cap per machine and hour.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each provider can serve now, and at what price."""
    wanted = gpus.parse(gpu) if gpu else gpus.GpuNeed()
    need = Need(gpu=wanted.name, gpu_count=wanted.count, max_price_usd_h=max_price)
    run_async(_offers, need, provider or [], as_json)


async def _offers(need: Need, providers: list[str], as_json: bool) -> None:
    async with session() as opened:
        request = OffersRequest(need=need, providers=providers)
        reply = await opened.bus.request(subjects.OFFERS, request, OffersReply, timeout_s=OFFERS_S)
    found = [offer for one in reply.lists for offer in one.offers]
    ages = {one.provider: one.age_s for one in reply.lists}
    found.sort(key=lambda offer: (offer.price_usd_h, offer.provider))
    if as_json:
        for offer in found:
            print_json({"type": "offer", **full(offer), "age_s": ages[offer.provider]})
    elif found:
        print_table(COLUMNS, [cells(offer) for offer in found])
    for one in reply.lists:
        if one.offers:
            if one.age_s >= OLD_S and not as_json:
                say(
                    f"{one.provider} did not answer now; its list is {duration_text(one.age_s)} old"
                )
            continue
        reason = one.refusal or "no offer"
        if as_json:
            print_json(
                {
                    "type": "refusal",
                    "provider": one.provider,
                    "reason": reason,
                    "late": one.late,
                }
            )
        else:
            say(f"{one.provider}: {reason}")
    if not reply.lists and not as_json:
        say("no provider pool answers; vaultlayer doctor tells more")


def cells(offer: Offer) -> list[str]:
    """Give the cells of one offer."""
    return [
        offer.provider,
        f"{offer.gpu}:{offer.gpu_count}" if offer.gpu else "-",
        usd_text(offer.price_usd_h),
        kind_text(spot=offer.spot),
        offer.region,
        str(offer.cpus or ""),
        size_text(offer.memory_b) if offer.memory_b else "",
        size_text(offer.disk_b) if offer.disk_b else "",
        offer.detail,
    ]
