"""How a machine ends itself when nobody else will: one small function a provider, found by name.

A provider that is not listed has nothing that reaches only the machine itself; there the agent just exits,
and the fencer terminates the machine. The user's own machine is never among them.
"""

from collections.abc import Awaitable, Callable

from vaultlayer.driver import BootPayload
from vaultlayer.logging import get_logger
from vaultlayer_agent.core import Status

SelfDestroy = Callable[[BootPayload], Awaitable[None]]
"""Ends the machine it runs on, with power over that one only; returns if it could not."""

SELF_DESTROY: dict[str, SelfDestroy] = {}

DESERTED = {Status.FENCED, Status.ORPHANED}


async def end_machine(boot: BootPayload, status: int) -> None:
    """End a machine that is fenced or orphaned, where its provider gives it the power to."""
    destroy = SELF_DESTROY.get(boot.provider)
    if boot.local or status not in DESERTED or destroy is None:
        return
    get_logger().info("machine_ending", provider=boot.provider)
    await destroy(boot)
