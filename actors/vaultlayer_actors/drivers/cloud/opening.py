"""The API of one provider as a driver opens it: address and certificates of its table, keys of the vault."""

from collections.abc import Mapping

import httpx

from vaultlayer.driver import DriverContext
from vaultlayer_actors.drivers.cloud.api import Api, Bearer, Classify
from vaultlayer_actors.drivers.cloud.clock import SteadyClock
from vaultlayer_actors.drivers.cloud.driver import CloudDriver
from vaultlayer_actors.drivers.cloud.limiter import shared_limiter
from vaultlayer_actors.drivers.cloud.options import CloudOptions


def open_api(
    provider: str,
    context: DriverContext,
    options: CloudOptions,
    *,
    endpoint: str,
    intervals_s: Mapping[str, float],
    classify: Classify,
    auth: httpx.Auth | None = None,
    key: str = "api_key",
) -> Api:
    """Open it; nothing is sent yet.

    Args:
        provider: its name, for errors.
        context: what the driver is built from.
        options: the provider's table; its `endpoint` and `ca_file` count.
        endpoint: the provider's own address.
        intervals_s: call → least seconds from one to the next.
        classify: what failures mean here.
        auth: what signs a request; None: the key as a bearer token.
        key: the field of the vault whose calls are counted together.
    """
    secret = context.secrets[key]
    clock = context.clock or SteadyClock()
    address = options.endpoint or endpoint
    return Api(
        provider=provider,
        endpoint=address,
        auth=auth or Bearer(secret),
        limiter=shared_limiter(address, secret, intervals_s, clock),
        clock=clock,
        classify=classify,
        secrets=context.secrets.values(),
        verify=options.ca_file or True,
    )


class ApiDriver(CloudDriver):
    """A driver that holds nothing open but one `Api`, which its `__init__` sets."""

    _api: Api

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()
