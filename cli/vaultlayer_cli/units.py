"""Numbers as people read them: seconds, bytes, dollars; and the way back for durations."""

import re

from vaultlayer.errors import FlagError

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration_text(seconds: float) -> str:
    """Give `0.4s`, `12s`, `3m 05s`, `2h 10m` or `4d 03h`."""
    if seconds < 0:
        return "0s"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def ago_text(at: float, now_s: float) -> str:
    """Give how long ago a moment was, or `-` when it never came."""
    return f"{duration_text(now_s - at)} ago" if at else "-"


def size_text(size_b: int) -> str:
    """Give `312 B`, `4.2 KB`, `1.3 MB` …, in powers of 1000."""
    size = float(size_b)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def usd_text(usd: float) -> str:
    """Give dollars with cents; amounts below a cent with four digits."""
    return f"${usd:.4f}" if 0 < usd < 0.01 else f"${usd:.2f}"


def kind_text(*, spot: bool) -> str:
    """Spell how a machine is rented."""
    return "spot" if spot else "on demand"


def parse_duration(text: str, flag: str) -> float:
    """Read `2h`, `1h30m`, `90s`, `1.5d` or a bare number of seconds.

    Raises:
        FlagError: it is none of these, or not above zero.
    """
    bare = text.strip().lower().replace(" ", "")
    parts = _PART.findall(bare)
    seconds = 0.0
    if parts and "".join(number + unit for number, unit in parts) == bare:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    elif re.fullmatch(r"\d+(?:\.\d+)?", bare):
        seconds = float(bare)
    if seconds <= 0:
        raise FlagError(
            f"{flag} {text!r} is no length of time",
            why="it must be above zero, with the units s, m, h or d",
            mend=f"{flag} 2h30m",
        )
    return seconds
