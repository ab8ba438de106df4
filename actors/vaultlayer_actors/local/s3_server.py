"""The embedded S3 server: SeaweedFS in one process, with its bucket."""

from collections.abc import Mapping

from vaultlayer.endpoints import Endpoints
from vaultlayer.errors import StoreError
from vaultlayer.messages.people import StoreCredential
from vaultlayer.settings import Home, Settings
from vaultlayer.store.s3 import S3Store
from vaultlayer.store.weed import weed_arguments, weed_config_files, weed_ports, weed_sockets
from vaultlayer_actors.credential_vault.keys import write_private
from vaultlayer_actors.credential_vault.master import MasterKeys
from vaultlayer_actors.local.child import ChildSpec
from vaultlayer_actors.local.health import http_status
from vaultlayer_actors.local.programs import find_program

VARIABLE = "WEED_BIN"
PROBE_KEY = ".vaultlayer-probe"
PROBE_ANSWER_S = 2.0

END_S = 2.5
"""It mostly ends within a second, and one time in ten not at all; then SIGKILL loses nothing either."""

_QUICKER = (
    # The probe makes the bucket as soon as it can: the server itself does so half a second later.
    "-s3.autoCreateBucket=true",
    "-volume.preStopSeconds=0",
    # With it, one start in ten has no volumes for 5 s; they tell the master of themselves anyway.
    "-master.resumeState=false",
)


def parent_credential(
    settings: Settings, endpoints: Endpoints, keys: MasterKeys
) -> StoreCredential:
    """Give the embedded server's one identity, which may do everything."""
    return StoreCredential(
        endpoint=endpoints.s3_url,
        bucket=settings.store.bucket,
        region=settings.store.region,
        root=settings.store.root,
        access_key=keys.s3_access_key,
        secret_key=keys.s3_secret_key,
    )


def s3_spec(
    home: Home,
    settings: Settings,
    endpoints: Endpoints,
    keys: MasterKeys,
    environ: Mapping[str, str] | None = None,
) -> ChildSpec:
    """Write the configuration (mode 0600: it holds the parent key) and give what is to be started.

    Raises:
        ServerMissingError: there is no weed.
    """
    program = find_program("weed", VARIABLE, environ)
    bucket = settings.store.bucket
    ports = weed_ports(endpoints.s3_port, endpoints.weed_base_port)
    data, config = home.servers / "s3", home.servers / "s3-config"
    for directory in (data, config):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = weed_config_files(
        access_key=keys.s3_access_key,
        secret_key=keys.s3_secret_key,
        signing_key=keys.s3_signing_key,
        bucket=bucket,
    )
    for name, text in files.items():
        write_private(config / name, text)
    parent = parent_credential(settings, endpoints, keys)

    async def is_ready() -> bool:
        return await http_status(ports.s3, "/healthz") == 200 and await takes_objects(parent)

    def clean_up() -> None:
        for leftover in weed_sockets(ports):
            leftover.unlink(missing_ok=True)

    return ChildSpec(
        name="weed",
        program=program,
        arguments=[*weed_arguments(data, config, ports, bucket=bucket), *_QUICKER],
        end_s=END_S,
        run_path=home.run,
        is_ready=is_ready,
        clean_up=clean_up,
    )


async def takes_objects(parent: StoreCredential) -> bool:
    """Tell whether an object can be written: the port opens before there is a volume and a bucket."""
    store = S3Store(parent, tries=1, answer_s=PROBE_ANSWER_S)
    try:
        await store.put(PROBE_KEY, b"1")
        await store.delete([PROBE_KEY])
    except StoreError:
        return False
    return True
