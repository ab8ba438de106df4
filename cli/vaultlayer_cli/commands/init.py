"""`vaultlayer init`."""

import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from vaultlayer.errors import FlagError
from vaultlayer.settings import Home, find_home
from vaultlayer_cli.config_file import Bucket, config_text, settings_or_none, write_config
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.terminal import print_json, say

ACCESS, SECRET = "VAULTLAYER_STORE_ACCESS_KEY", "VAULTLAYER_STORE_SECRET_KEY"


def init(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: this machine, embedded servers.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a configuration that is there already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a configuration that works on this machine.

    It needs no account anywhere: a bus and a bucket of its own, this machine as the provider. A configuration
    that is there already is left as it is, unless you say otherwise.
    """
    home = find_home()
    there = settings_or_none(home) is not None if not force else home.config_file.exists()
    is_asked = sys.stdin.isatty() and not yes and not as_json
    if there and not force:
        replace = is_asked and typer.confirm(
            f"{home.config_file} is there already. Replace it?", default=False, err=True
        )
        if not replace:
            _tell(home, written=False, as_json=as_json)
            return
    bucket, keys = _ask_bucket() if is_asked else (None, None)
    if bucket is not None and keys is not None:
        _keep_keys(home, *keys)
    write_config(home, config_text(bucket))
    _tell(home, written=True, as_json=as_json)


def _tell(home: Home, *, written: bool, as_json: bool) -> None:
    if as_json:
        print_json({"config": str(home.config_file), "state": str(home.state), "written": written})
        return
    if written:
        say(f"wrote {home.config_file}")
    else:
        say(f"{home.config_file} is there already; nothing was changed")
    say(f"state is kept in {home.state}")
    say("next: vaultlayer run python train.py    or: vaultlayer doctor")


def _ask_bucket() -> tuple[Bucket | None, tuple[str, str] | None]:
    """Ask where checkpoints go; None for the embedded S3 server."""
    sys.stderr.write(
        "Where are checkpoints kept?\n"
        "  1  on this machine, in an S3 server that VaultLayer runs itself\n"
        "  2  in a bucket of your own: Cloudflare R2, AWS S3, MinIO, ...\n"
    )
    answer = typer.prompt("1 or 2", default="1", err=True).strip()
    if answer not in {"1", "2"}:
        raise FlagError(f"{answer!r} is neither 1 nor 2", mend="vaultlayer init")
    if answer == "1":
        return None, None
    endpoint = typer.prompt("Endpoint, https://...", err=True).strip()
    if not endpoint.startswith(("http://", "https://")):
        raise FlagError(
            f"{endpoint!r} is no endpoint", mend="https://<account>.r2.cloudflarestorage.com"
        )
    bucket = Bucket(
        endpoint=endpoint,
        bucket=typer.prompt("Bucket", default="vaultlayer", err=True).strip(),
        region=typer.prompt("Region", default="auto", err=True).strip(),
        root=typer.prompt("Folder in the bucket", default="", show_default=False, err=True).strip(),
    )
    access = typer.prompt("Access key id", err=True).strip()
    secret = typer.prompt("Secret access key", hide_input=True, err=True).strip()
    return bucket, (access, secret)


def _keep_keys(home: Home, access: str, secret: str) -> None:
    """Hand the bucket's keys to the vault; they are written nowhere else."""
    found = {point.name: point for point in entry_points(group="vaultlayer.processes")}
    if "vault_put" in found:
        found["vault_put"].load()(home=home, store_access_key=access, store_secret_key=secret)
    else:
        say("this installation has no vault, so the keys are not kept here")
        say(f"give them to the broker's own environment: {ACCESS} and {SECRET}")
