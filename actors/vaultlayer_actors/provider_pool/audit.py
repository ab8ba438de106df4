"""Sets what a provider lists with our tag beside what the log knows of it."""

from vaultlayer.driver import Driver, Instance
from vaultlayer.ids import parse_instance_name
from vaultlayer.ledger import Ledger
from vaultlayer.messages import AuditReply, AuditRow
from vaultlayer_actors.provider_pool import core


async def audit(driver: Driver, ledger: Ledger) -> AuditReply:
    """Give a line for each machine with our tag; what is not ours is not even named.

    Raises:
        VaultLayerError: the provider or the log cannot be asked now.
    """
    # Listed first, so that a machine whose order is just being written down is known when it is judged.
    listed = await driver.list()
    name = driver.manifest.name
    rows = [await _row(found, ledger, name) for found in listed if found.state != "gone"]
    return AuditReply(provider=name, rows=[row for row in rows if row is not None])


async def _row(found: Instance, ledger: Ledger, provider: str) -> AuditRow | None:
    named = parse_instance_name(found.name)
    if named is None:
        return None
    job = await ledger.read(named[0])
    reason = core.unwanted(job, named[1], found, provider)
    attempt = job.attempts.get(named[1]) if job is not None else None
    return AuditRow(
        provider=provider,
        instance=found.instance,
        name=found.name,
        state=found.state,
        price_usd_h=found.price_usd_h or (attempt.price_usd_h if attempt else 0.0),
        job=named[0],
        attempt=named[1],
        phase=attempt.phase.value if attempt else "",
        since=attempt.created_at if attempt else 0.0,
        unknown=reason,
        detail=found.detail,
    )
