"""Takes secrets out of what a provider says, before it becomes part of an error or a log line."""

import re
from collections.abc import Iterable

TEXT_MAX = 300
_LONG = re.compile(r"[A-Za-z0-9+/=_.\-]{40,}")
"""JWTs, seeds, keys, pieces of a boot script: no word of a message that people need is as long."""


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Give one line of a provider's text that is safe to show.

    Args:
        text: anything a provider has sent; some echo arguments and environment.
        secrets: values that must not be shown, however short.
    """
    for secret in sorted((one for one in secrets if one), key=len, reverse=True):
        text = text.replace(secret, "…")
    text = _LONG.sub("…", " ".join(text.split()))
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
