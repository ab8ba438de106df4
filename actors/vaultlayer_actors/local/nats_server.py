"""The embedded nats-server: its configuration, and how to know that it serves."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from vaultlayer.bus.permissions import SERVER_PAYLOAD_MAX_B
from vaultlayer.endpoints import Endpoints
from vaultlayer.settings import Home
from vaultlayer_actors.credential_vault.keys import write_private
from vaultlayer_actors.credential_vault.master import MasterKeys, account_jwts, operator_jwt
from vaultlayer_actors.local.child import ChildSpec
from vaultlayer_actors.local.health import http_status
from vaultlayer_actors.local.programs import find_program

VARIABLE = "NATS_SERVER_BIN"

ROOM_B = 32_000_000
"""With so much room on its disk, a server that still refuses to write is started again."""


def render_conf(
    *,
    listen: str,
    monitor: str,
    data: Path,
    operator: str,
    system_account: str,
    accounts: Mapping[str, str],
) -> str:
    """Give the text of `nats.conf`. Nothing in it is secret.

    `sync_interval: always` is what makes an acknowledgement mean that a power cut cannot take it back. The
    resolver keeps accounts in a directory, so that a revocation outlives the server; the accounts given
    here only count where it has none that is newer. Without `max_file_store` the server would take three
    quarters of what is free at its start as its limit, and refuse streams made on an emptier disk.

    Args:
        listen: `host:port` for clients.
        monitor: `host:port` of the HTTP monitor.
        data: directory of streams and accounts.
        operator: the operator's JWT.
        system_account: public key of the server's own account.
        accounts: first JWT of each account by public key.
    """
    preload = "\n".join(f"  {key}: {_text(jwt)}" for key, jwt in accounts.items())
    return f"""\
server_name: "vaultlayer"
listen: {_text(listen)}
http: {_text(monitor)}
max_payload: {SERVER_PAYLOAD_MAX_B}
ping_interval: "10s"
ping_max: 2
write_deadline: "10s"
jetstream {{
  store_dir: {_text(str(data / "streams"))}
  sync_interval: always
  max_file_store: 1TB
}}
operator: {_text(operator)}
system_account: {_text(system_account)}
resolver {{
  type: full
  dir: {_text(str(data / "accounts"))}
  allow_delete: false
  interval: "2m"
}}
resolver_preload {{
{preload}
}}
"""


def nats_spec(
    home: Home,
    endpoints: Endpoints,
    keys: MasterKeys,
    environ: Mapping[str, str] | None = None,
) -> ChildSpec:
    """Write the configuration and give what is to be started.

    Raises:
        ServerMissingError: there is no nats-server.
    """
    program = find_program("nats-server", VARIABLE, environ)
    data = home.servers / "nats"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    conf = data / "nats.conf"
    text = render_conf(
        listen=f"127.0.0.1:{endpoints.bus_port}",
        monitor=f"127.0.0.1:{endpoints.monitor_port}",
        data=data,
        operator=operator_jwt(keys),
        system_account=keys.system_key,
        accounts=account_jwts(keys),
    )
    write_private(conf, text.encode())

    async def is_ready() -> bool:
        return await http_status(endpoints.monitor_port, "/healthz") == 200

    async def is_stuck() -> bool:
        # After a full disk it refuses writes to that stream until it is started again.
        unwell = await http_status(endpoints.monitor_port, "/healthz") == 503
        return unwell and shutil.disk_usage(data).free >= ROOM_B

    return ChildSpec(
        name="nats-server",
        program=program,
        arguments=["--config", str(conf)],
        run_path=home.run,
        is_ready=is_ready,
        is_stuck=is_stuck,
    )


def _text(value: str) -> str:
    """Quote for NATS's configuration language, whose strings are JSON's for printable characters."""
    return json.dumps(value, ensure_ascii=False)
