"""Make a machine once: look, create, and after an unclear answer look until it can be seen or is not there.

The intent is in the job's log before any of this (the pool writes it), and the machine carries its name
from the first moment, so whoever comes later finds it too.
"""

from collections.abc import Awaitable, Callable, Sequence

from vaultlayer.driver import Clock, Instance, Manifest
from vaultlayer.errors import AmbiguousCreateError, DriverError
from vaultlayer.logging import get_logger

LOOK_S = 2.0
"""From one look to the next while a machine may still come to light."""


async def create_once(
    name: str,
    *,
    manifest: Manifest,
    clock: Clock,
    make: Callable[[], Awaitable[Instance]],
    look: Callable[[str], Awaitable[Sequence[Instance]]],
    end: Callable[[str], Awaitable[None]],
) -> Instance:
    """Give the one machine of that name, made now or before.

    Args:
        name: `vl-<job>-a<n>`.
        manifest: says whether a repeated create is harmless, and how long a listing may lag.
        clock: where time comes from.
        make: one create call.
        look: lists the machines of a name; of all our machines where the provider cannot filter.
        end: terminates a duplicate.

    Raises:
        AmbiguousCreateError: the answer was unclear and nothing of that name was listed in time.
        DriverError: the provider refused; there is no machine.
    """
    # Where no token guards a create, a name that is there already must not be made again.
    if not manifest.idempotent and (found := await _one_of(name, look, end)):
        return found
    try:
        return await make()
    except AmbiguousCreateError:
        until_s = clock.now_s() + manifest.visibility_s
        while True:
            if found := await _one_of(name, look, end):
                return found
            if clock.now_s() >= until_s:
                raise
            await clock.sleep(min(LOOK_S, max(0.01, until_s - clock.now_s())))


async def _one_of(
    name: str,
    look: Callable[[str], Awaitable[Sequence[Instance]]],
    end: Callable[[str], Awaitable[None]],
) -> Instance | None:
    """Give the machine of that name that is furthest, after ending its duplicates."""
    found = [one for one in await look(name) if one.name == name and one.state != "gone"]
    found.sort(key=lambda one: (not one.is_alive, one.state != "running", one.instance))
    for surplus in found[1:]:
        get_logger().warning("machine_duplicate", name=name, instance=surplus.instance)
        try:
            await end(surplus.instance)
        except DriverError as error:
            # The sweeper ends it: the log will have another machine for this name.
            get_logger().warning("duplicate_resists", instance=surplus.instance, code=error.code)
    return found[0] if found else None
