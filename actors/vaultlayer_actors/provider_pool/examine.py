"""Whether one provider can be used, asked of itself: key, rights, balance, clock, and what it has to offer.

Nothing is made or changed there; each finding says how to mend it.
"""

from vaultlayer.driver import Account, Driver, Need, OfferList, TellsAccount
from vaultlayer.errors import AuthError, DriverError
from vaultlayer.messages import CheckRow

SAMPLES = ("RTX4090", "L40S", "A100_40", "A100_80", "H100_80", "T4")
"""GPUs that a check asks offers for: common ones, from cheap to dear."""

LOW_USD = 5.0
SKEW_S_WARN = 20.0
SKEW_S_FAIL = 240.0
"""Signed requests are refused by AWS when clocks differ by five minutes."""


async def account_of(driver: Driver) -> Account:
    """Give what the provider tells of our account, nothing where the driver has no way to ask."""
    return await driver.account() if isinstance(driver, TellsAccount) else Account()


async def examine(driver: Driver) -> list[CheckRow]:
    """Give all findings in order; after a key that is not accepted nothing more is asked."""
    name = driver.manifest.name
    try:
        listed = await driver.list()
    except DriverError as error:
        return [unlisted(name, error)]
    found = f"accepted; {len(listed)} machines with our tag are listed"
    rows = [CheckRow(name="key", verdict="ok", found=found)]
    try:
        account = await account_of(driver)
    except DriverError as error:
        account = Account()
        rows.append(
            CheckRow(name="account", verdict="warn", found=words(error), mend=error.mend or "")
        )
    rows += [rights(name, account), balance(name, account), clock(account)]
    if account.strange_gpus:
        rows.append(strange(account))
    answers = [await driver.offers(Need(gpu=gpu, gpu_count=1)) for gpu in SAMPLES]
    return [*rows, offers(name, answers)]


def words(error: DriverError) -> str:
    """Spell an error in one line."""
    return f"{error.what} ({error.why})" if error.why else error.what


def unlisted(name: str, error: DriverError) -> CheckRow:
    """Say why not even a listing was to be had."""
    mend = f"vaultlayer providers key {name}" if isinstance(error, AuthError) else ""
    mend = mend or error.mend or f"vaultlayer providers check {name}, when {name} answers again"
    return CheckRow(name="key", verdict="fail", found=words(error), mend=mend)


def rights(name: str, account: Account) -> CheckRow:
    """Say whether the key may make machines."""
    if account.can_create is None:
        return CheckRow(
            name="rights",
            verdict="warn",
            found="may list; whether it may make machines is not told before one is made",
            mend=f"vaultlayer sweep {name} --only quick proves it for cents",
        )
    if account.can_create:
        return CheckRow(name="rights", verdict="ok", found="may list and make machines")
    return CheckRow(
        name="rights",
        verdict="fail",
        found=f"may not make machines: {account.refusal or 'no reason was given'}",
        mend=f"give the key that right at {name}, or take another: vaultlayer providers key {name}",
    )


def balance(name: str, account: Account) -> CheckRow:
    """Say what is left to spend."""
    usd = account.balance_usd
    if usd is None:
        return CheckRow(name="balance", verdict="ok", found=f"{name} does not tell")
    verdict = "ok" if usd >= LOW_USD else "warn" if usd > 0 else "fail"
    mend = "" if verdict == "ok" else f"add credit at {name}; at zero it stops what runs"
    return CheckRow(name="balance", verdict=verdict, found=f"${usd:.2f} left", mend=mend)


def clock(account: Account) -> CheckRow:
    """Say how far the clocks are apart."""
    if account.skew_s is None:
        return CheckRow(name="clock", verdict="ok", found="it does not tell its time")
    off_s = abs(account.skew_s)
    verdict = "ok" if off_s < SKEW_S_WARN else "warn" if off_s < SKEW_S_FAIL else "fail"
    side = "behind" if account.skew_s > 0 else "ahead of"
    found = f"this machine is {off_s:.0f} s {side} it" if off_s else "as here"
    mend = (
        "" if verdict == "ok" else "let this machine's clock follow NTP: timedatectl set-ntp true"
    )
    return CheckRow(name="clock", verdict=verdict, found=found, mend=mend)


def strange(account: Account) -> CheckRow:
    """Say which GPUs cannot be ordered because nobody knows what they are."""
    names = ", ".join(account.strange_gpus[:12])
    more = len(account.strange_gpus) - 12
    return CheckRow(
        name="GPU names",
        verdict="warn",
        found=f"not known here, and never ordered: {names}{f' and {more} more' if more > 0 else ''}",
        mend="a newer vaultlayer may know them",
    )


def offers(name: str, answers: list[OfferList]) -> CheckRow:
    """Say what could be had of the common GPUs."""
    found = [one for answer in answers for one in answer.offers]
    if not found:
        said = next((answer.refusal for answer in answers if answer.refusal), "nothing")
        return CheckRow(
            name="offers",
            verdict="warn",
            found=f"none of {', '.join(SAMPLES)}: {said}",
            mend=f"look at regions and spot below [providers.{name}] of the configuration",
        )
    cheapest: dict[str, float] = {}
    for one in found:
        cheapest[one.gpu] = min(one.price_usd_h, cheapest.get(one.gpu, one.price_usd_h))
    told = ", ".join(f"{gpu} from ${usd:.2f}/h" for gpu, usd in cheapest.items())
    regions = len({one.region for one in found if one.region})
    where = f" in {regions} regions" if regions else ""
    return CheckRow(name="offers", verdict="ok", found=f"{len(found)}{where}: {told}")
