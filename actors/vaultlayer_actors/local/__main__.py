"""`python -m vaultlayer_actors.local`: the embedded servers alone, for actors in processes of their own."""

import sys

import anyio

from vaultlayer.logging import set_up_logging
from vaultlayer.settings import Home, Settings, find_home, load_settings
from vaultlayer_actors.embedded import exit_on_error
from vaultlayer_actors.local.servers import local_servers
from vaultlayer_actors.runtime import stop_on_signal


async def _serve(home: Home, settings: Settings) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(stop_on_signal, group.cancel_scope)
        async with local_servers(home, settings):
            await anyio.sleep_forever()


def main() -> None:
    """Run nats-server and the S3 server of the home that the environment names."""
    set_up_logging(sys.stderr)
    home = find_home()
    with exit_on_error(home):
        anyio.run(_serve, home, load_settings(home.config_file))


if __name__ == "__main__":
    main()
