"""Where things are kept, and the one configuration file.

`VAULTLAYER_HOME` puts everything below one directory; otherwise the platform's own directories are
used. The file is TOML; unknown keys are errors, and an error names file, line and field.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vaultlayer.errors import ConfigError, NotInitialisedError
from vaultlayer.lease import PROFILES, LeaseTerms


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """The directories of one installation."""

    config: Path
    state: Path

    @property
    def config_file(self) -> Path:
        """The configuration file."""
        return self.config / "config.toml"

    @property
    def keys(self) -> Path:
        """Sealed master keys and the key that opens them; mode 0700."""
        return self.state / "keys"

    @property
    def creds(self) -> Path:
        """Bus credentials of this machine's own processes; mode 0700."""
        return self.state / "creds"

    @property
    def servers(self) -> Path:
        """Data of the embedded servers."""
        return self.state / "servers"

    @property
    def run(self) -> Path:
        """Locks, pid files, ports and logs of the embedded broker."""
        return self.state / "run"

    @property
    def drivers(self) -> Path:
        """State of drivers, a directory each."""
        return self.state / "drivers"


def find_home(environ: Mapping[str, str] | None = None) -> Home:
    """Give the home that the environment names, else the platform's directories."""
    environ = os.environ if environ is None else environ
    named = environ.get("VAULTLAYER_HOME")
    if named:
        base = Path(named).expanduser().absolute()
        return Home(config=base, state=base)
    import platformdirs  # noqa: PLC0415  only needed without VAULTLAYER_HOME, and never on an instance

    dirs = platformdirs.PlatformDirs("vaultlayer", appauthor=False)
    return Home(config=Path(dirs.user_config_dir), state=Path(dirs.user_data_dir))


class BusSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[bus]`: empty `urls` means the embedded nats-server."""

    urls: list[str] = []
    public_urls: list[str] = []
    """How rented machines reach the bus; empty: as `urls`."""
    monitor_url: str = ""
    """Where a nats-server of one's own tells of itself (`http_port`), so that its sync setting is checked."""
    vouched: bool = False
    """Somebody else has made sure that the server syncs before it acknowledges, and nobody can ask it."""
    streams: int = 4


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[store]`: empty `endpoint` means the embedded S3 server."""

    endpoint: str = ""
    bucket: str = "vaultlayer"
    region: str = "us-east-1"
    root: str = ""
    sts_endpoint: str = ""
    role_arn: str = ""


class LeaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[lease]`: a profile, or its numbers in seconds."""

    profile: str = "default"
    beat_s: float | None = None
    suspect_s: float | None = None
    agent_s: float | None = None
    broker_s: float | None = None
    orphan_s: float | None = None

    def terms(self) -> LeaseTerms:
        """Give the terms; raises ConfigError when they contradict the lease rule."""
        if self.profile not in PROFILES:
            raise ConfigError(
                f"[lease] profile: no profile is called {self.profile!r}",
                mend=f"one of: {', '.join(PROFILES)}",
            )
        own = {
            name: value
            for name in ("beat_s", "suspect_s", "agent_s", "broker_s", "orphan_s")
            if (value := getattr(self, name)) is not None
        }
        terms = msgspec.structs.replace(PROFILES[self.profile], **own)
        if fault := terms.fault():
            raise ConfigError("[lease]: the numbers contradict one another", why=fault)
        return terms


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[run]`: defaults of `vaultlayer run`."""

    workdir_max_mb: int = 512
    """A working directory above this is refused, so that nobody uploads a data set by mistake."""
    keep_last: int = 3
    keep_every: int = 10


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    version: int = 1
    bus: BusSettings = BusSettings()
    store: StoreSettings = StoreSettings()
    lease: LeaseSettings = LeaseSettings()
    run: RunSettings = RunSettings()
    providers: dict[str, dict[str, object]] = {}
    """`[providers.<name>]`: `allow = true` and the driver's own options."""

    @property
    def allowed(self) -> list[str]:
        """The providers that may be used."""
        return [name for name, table in self.providers.items() if table.get("allow", False)]


def load_settings(path: Path) -> Settings:
    """Read the configuration file.

    Raises:
        NotInitialisedError: there is none.
        ConfigError: it is no TOML, a field is unknown or has the wrong type.
    """
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        raise NotInitialisedError(
            f"there is no configuration at {path}", mend="vaultlayer init --yes"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}", why=str(error)) from error
    return parse_settings(text, str(path))


def parse_settings(text: str, path: str) -> Settings:
    """Read the configuration from its text; `path` is for messages."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML", why=str(error), mend="correct the line named above"
        ) from error
    try:
        settings = msgspec.convert(raw, Settings)
        settings.lease.terms()
    except msgspec.ValidationError as error:
        field, line = _place(str(error), text)
        raise ConfigError(
            f"{path}{f', line {line}' if line else ''}: {field or 'a field'} cannot be used",
            why=str(error),
            mend="docs/configuration.md lists every field",
        ) from error
    except ConfigError as error:
        raise ConfigError(
            f"{path}, line {_line_of(text, 'lease')}: {error.what}", why=error.why, mend=error.mend
        ) from error
    return settings


def _place(message: str, text: str) -> tuple[str, int]:
    """Give (field, line) that a validation message speaks of; line 0 when it cannot be found."""
    unknown = re.search(r"unknown field `([^`]+)`", message)
    path = re.search(r"\$\.?([\w.\[\]]*)`", message)
    dotted = (path[1] if path else "").strip(".")
    if unknown:
        dotted = f"{dotted}.{unknown[1]}" if dotted else unknown[1]
    return dotted, _line_of(text, dotted)


def _line_of(text: str, dotted: str) -> int:
    """Find the line of `table.key`, or of the table's head."""
    table, _, key = dotted.rpartition(".")
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if head := re.match(r"\[([^\]]+)\]", bare):
            current = head[1].strip()
            if current == dotted:
                return number
        elif current == table and re.match(rf"{re.escape(key)}\s*=", bare):
            return number
    return 0
