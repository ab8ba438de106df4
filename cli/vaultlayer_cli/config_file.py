"""The configuration that `init` writes: it works on this machine without an account anywhere."""

from pathlib import Path

import msgspec

from vaultlayer.errors import DiskError
from vaultlayer.settings import Home, Settings, load_settings

HEAD = """\
# VaultLayer: the configuration of this machine. docs/configuration.md lists every field.
version = 1
"""

LOCAL = """\
# This machine as a provider: jobs run here, and start again here when they are killed.
[providers.local]
allow = true
"""

EMBEDDED = """\
# No [bus] and no [store]: `vaultlayer up` runs a nats-server and an S3 server of its own.
"""

STORE = """\
[store]
endpoint = {endpoint}
bucket = {bucket}
region = {region}
root = {root}
"""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket of the user's own."""

    endpoint: str
    bucket: str
    region: str = "auto"
    root: str = ""


def config_text(bucket: Bucket | None = None) -> str:
    """Give a configuration file for this machine, with the embedded S3 server or a bucket elsewhere."""
    if bucket is None:
        return f"{HEAD}\n{EMBEDDED}\n{LOCAL}"
    fields = {name: _quoted(getattr(bucket, name)) for name in bucket.__struct_fields__}
    return f"{HEAD}\n{STORE.format(**fields)}\n{LOCAL}"


def _quoted(text: str) -> str:
    """Spell a TOML basic string; it has JSON's escapes."""
    return msgspec.json.encode(text).decode()


def write_config(home: Home, text: str) -> Path:
    """Write the configuration in one step and make the private directories.

    Raises:
        DiskError: it cannot be written.
    """
    path = home.config_file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for private in (home.keys, home.creds):
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".tmp")
        draft.write_text(text)
        draft.replace(path)
    except OSError as error:
        raise DiskError(f"cannot write {path}", why=error.strerror or str(error)) from error
    return path


def settings_or_none(home: Home) -> Settings | None:
    """Read the configuration; None when there is none.

    Raises:
        ConfigError: there is one, and it is broken.
    """
    return load_settings(home.config_file) if home.config_file.exists() else None
