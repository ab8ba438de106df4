"""`vaultlayer wheels`."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from anyio import to_thread

from vaultlayer import __version__, subjects
from vaultlayer.errors import FlagError
from vaultlayer.messages import WheelsCredentialRequest
from vaultlayer.store.s3 import open_store
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.submit import borrow
from vaultlayer_cli.terminal import print_json, say
from vaultlayer_cli.units import size_text
from vaultlayer_cli.wheelhouse import PLATFORMS, archive


def wheels(
    arch: Annotated[
        str, typer.Option(metavar="|".join(PLATFORMS), help="Processor of the machines.")
    ] = "x86_64",
    as_json: AsJson = False,
) -> None:
    """Put the agent of this version into your bucket, for machines to install it from.

    New machines get a URL that reads this one archive for an hour, and take the agent and all that it needs
    from there: no package index is asked. Do it once after each update of VaultLayer; machines whose image
    has the agent in it need none of this.
    """
    if arch not in PLATFORMS:
        raise FlagError(f"--arch {arch!r} is not known", mend=f"one of: {', '.join(PLATFORMS)}")
    run_async(_put, arch, as_json)


async def _put(arch: str, as_json: bool) -> None:
    async with session() as opened:
        credential = await borrow(
            opened.bus,
            subjects.WHEELS_CREDENTIAL,
            lambda seal_key: WheelsCredentialRequest(seal_key=seal_key),
        )
        with tempfile.TemporaryDirectory(prefix="vaultlayer-wheels-") as folder:
            path = Path(folder, "wheels.tar.gz")
            if not as_json:
                say(f"gathering the wheels of vaultlayer {__version__} for {arch} …")
            names = await to_thread.run_sync(lambda: archive(path, arch=arch))
            data = path.read_bytes()
            key = f"{credential.write_prefix}{__version__}.tar.gz"
            await open_store(credential).put(key, data)
    if as_json:
        print_json({"key": key, "size_b": len(data), "wheels": names})
    else:
        say(f"{len(names)} wheels, {size_text(len(data))}, are in {credential.bucket}/{key}")
