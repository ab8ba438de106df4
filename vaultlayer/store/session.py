"""A session of AWS's own library that takes nothing from the environment or from AWS configuration files."""

import os
from typing import Any


def bare_session() -> Any:
    """Make an `AioSession`; keys and regions are given to its clients one by one."""
    from aiobotocore.session import AioSession  # noqa: PLC0415  loaded on first use

    nothing: dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    return AioSession(session_vars=nothing)
