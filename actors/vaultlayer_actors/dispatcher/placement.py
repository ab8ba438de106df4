"""Which offer an attempt is ordered from, and why the cheaper ones were passed over. Pure."""

from collections.abc import Sequence

import msgspec

from vaultlayer.driver import Manifest, Need, Offer, OfferList
from vaultlayer.events import JobSpec
from vaultlayer.job import End, Job


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The offer, its provider's terms, the reason in words, and the cheaper ones with theirs."""

    offer: Offer
    manifest: Manifest
    reason: str
    passed_over: list[str] = []


def need_of(spec: JobSpec) -> Need:
    """Give what the job asks of a machine."""
    return Need(
        gpu=spec.gpu,
        gpu_count=spec.gpu_count,
        image=spec.image,
        max_price_usd_h=spec.budget.max_price_usd_h,
    )


def refusals(lists: Sequence[OfferList], spec: JobSpec) -> list[str]:
    """Say why nobody can serve the job, a line a provider; empty when somebody can."""
    lines: list[str] = []
    for answer in lists:
        if spec.providers and answer.provider not in spec.providers:
            continue
        if any(not _objection(offer, spec) for offer in answer.offers):
            return []
        said = answer.refusal or "; ".join(
            dict.fromkeys(_objection(offer, spec) for offer in answer.offers)
        )
        lines.append(f"{answer.provider}: {said or 'has no machine just now'}")
    return lines or ["no provider is allowed; see [providers] in the configuration"]


def choose(job: Job, lists: Sequence[OfferList], now_s: float) -> Choice | None:
    """Give the cheapest offer that nothing speaks against, or None when there is none now."""
    passed_over: list[str] = []
    ranked = sorted(
        ((offer, answer.manifest) for answer in lists for offer in answer.offers),
        key=lambda pair: _rank(job, pair[0]),
    )
    for offer, manifest in ranked:
        reason = _objection(offer, job.spec) or _cooling(job, offer, now_s)
        if manifest is not None and not reason:
            reason = _sole_conflict(job, manifest)
        if manifest is None or reason:
            passed_over.append(f"{_label(offer)}: {reason or 'its provider tells no terms'}")
            continue
        return Choice(
            offer=offer,
            manifest=manifest,
            reason=f"cheapest of {len(ranked)} at ${offer.price_usd_h:.3f}/h",
            passed_over=passed_over[:10],
        )
    return None


def _label(offer: Offer) -> str:
    return f"{offer.provider} {offer.offer_id} ${offer.price_usd_h:.3f}/h"


def _rank(job: Job, offer: Offer) -> tuple[float, int, str, str]:
    losses = sum(
        1 for a in job.attempts.values() if a.provider == offer.provider and a.end is End.LOST
    )
    return offer.price_usd_h, losses, offer.provider, offer.offer_id


def _objection(offer: Offer, spec: JobSpec) -> str:
    """What speaks against an offer whatever the moment; empty for nothing."""
    if spec.providers and offer.provider not in spec.providers:
        return "the job does not allow this provider"
    cap = spec.budget.max_price_usd_h
    if cap is not None and offer.price_usd_h > cap:
        return f"${offer.price_usd_h:.3f}/h is above the cap of ${cap:.3f}/h"
    if spec.gpu and (offer.gpu != spec.gpu or offer.gpu_count < spec.gpu_count):
        return f"has {offer.gpu or 'no GPU'} x{offer.gpu_count}"
    return ""


def _cooling(job: Job, offer: Offer, now_s: float) -> str:
    for attempt in job.attempts.values():
        failed = attempt.end is End.NOT_CREATED and attempt.offer.offer_id == offer.offer_id
        # By a clock that was put back it has not failed yet: that counts as now.
        ago_s = max(0.0, now_s - attempt.ended_at)
        if failed and attempt.provider == offer.provider and ago_s < attempt.cooldown_s:
            return f"could not be had {ago_s:.0f} s ago"
    return ""


def _sole_conflict(job: Job, manifest: Manifest) -> str:
    """A provider with one machine must have given up the old attempt before it gets the new one."""
    for attempt in job.attempts.values():
        if manifest.sole and attempt.provider == manifest.name and not attempt.gone_at:
            return f"attempt {attempt.number} is not gone from it yet"
    return ""
