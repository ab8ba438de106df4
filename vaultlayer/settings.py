"""Where things are kept, and the one configuration file.

`VAULTLAYER_HOME` puts everything below one directory; otherwise the platform's own directories are
used. The file is TOML; unknown keys are errors, and an error names file, line and field.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from vaultlayer.errors import ConfigError, NotInitialisedError
from vaultlayer.lease import PROFILES, LeaseTerms

VERSION = 1
BUS_SCHEMES = ("nats", "tls", "ws", "wss")
WEB_SCHEMES = ("http", "https")

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


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
    streams: Annotated[int, msgspec.Meta(ge=1, le=256)] = 4


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
    beat_s: Seconds | None = None
    suspect_s: Seconds | None = None
    agent_s: Seconds | None = None
    broker_s: Seconds | None = None
    orphan_s: Seconds | None = None

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

    workdir_max_mb: AtLeastOne = 512
    """A working directory above this is refused, so that nobody uploads a data set by mistake."""
    keep_last: AtLeastOne = 3
    keep_every: AtLeastOne = 10


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    version: int = VERSION
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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotInitialisedError(
            f"there is no configuration at {path}", mend="vaultlayer init --yes"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"cannot read {path}", why="it is no UTF-8 text", mend="write it anew as UTF-8"
        ) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"cannot read {path}", why=why, mend=f"see to {path}") from error
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
        raise field_error(error, text, path, shapes=_SHAPES) from error
    except ConfigError as error:
        raise ConfigError(
            f"{path}, line {_line_of(text, 'lease')}: {error.what}", why=error.why, mend=error.mend
        ) from error
    for field, why in _faults(settings):
        raise _cannot_be_used(field, text, path, why=why)
    return settings


def field_error(
    error: msgspec.ValidationError,
    text: str,
    path: str,
    *,
    table: str = "",
    shapes: Mapping[str, type[msgspec.Struct]],
) -> ConfigError:
    """Say which field of which line cannot be used.

    Args:
        error: what the conversion said.
        text: the whole file.
        path: its path, for the message.
        table: the table that was converted, such as `providers.local`; empty: all.
        shapes: the struct of each table, so that a misspelt field is told the nearest one.
    """
    field = ".".join(part for part in (table, _field_of(str(error))) if part)
    near: Sequence[str] = ()
    if "unknown field" in str(error):
        import difflib  # noqa: PLC0415  only on the way to an error

        parent, _, name = field.rpartition(".")
        known = shapes[parent].__struct_fields__ if parent in shapes else ()
        near = difflib.get_close_matches(name, known, n=1)
    return _cannot_be_used(field, text, path, why=str(error), near=near)


def _cannot_be_used(
    field: str, text: str, path: str, *, why: str, near: Sequence[str] = ()
) -> ConfigError:
    line = _line_of(text, field)
    mend = "docs/configuration.md lists every field"
    return ConfigError(
        f"{path}{f', line {line}' if line else ''}: {field or 'a field'} cannot be used",
        why=why,
        mend=f"{near[0]} is the nearest known field; {mend}" if near else mend,
    )


_SHAPES: dict[str, type[msgspec.Struct]] = {
    "": Settings,
    "bus": BusSettings,
    "store": StoreSettings,
    "lease": LeaseSettings,
    "run": RunSettings,
}


def _faults(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give (field, why) of what has the right type and can still not be meant."""
    if settings.version != VERSION:
        yield "version", f"this program reads version {VERSION}"
    bus, store = settings.bus, settings.store
    for field, urls, schemes in (
        ("bus.urls", bus.urls, BUS_SCHEMES),
        ("bus.public_urls", bus.public_urls, BUS_SCHEMES),
        ("bus.monitor_url", [bus.monitor_url], WEB_SCHEMES),
        ("store.endpoint", [store.endpoint], WEB_SCHEMES),
        ("store.sts_endpoint", [store.sts_endpoint], WEB_SCHEMES),
    ):
        for url in urls:
            if url and not _is_address(url, schemes):
                # Not shown: an address may hold a password.
                yield field, f"an address begins with {_any_of(schemes)}, then the host"
    for name, table in settings.providers.items():
        if not isinstance(table.get("allow", False), bool):
            yield f"providers.{name}.allow", "it is true or false, without quotes"


def _is_address(url: str, schemes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _any_of(schemes: Sequence[str]) -> str:
    return " or ".join(f"{scheme}://" for scheme in schemes)


def _field_of(message: str) -> str:
    """Give the field that a validation message speaks of, with its tables."""
    unknown = re.search(r"unknown field `([^`]+)`", message)
    path = re.search(r"\$\.?([\w.\[\]]*)`", message)
    dotted = (path[1] if path else "").strip(".")
    return f"{dotted}.{unknown[1]}".strip(".") if unknown else dotted


def _line_of(text: str, dotted: str) -> int:
    """Find the line of `table.key`, or of the table's head; 0: nowhere."""
    dotted = re.sub(r"\[.*", "", dotted)
    table, _, key = dotted.rpartition(".")
    current, head_line = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if head := re.match(r"\[([^\]]+)\]", bare):
            current = head[1].strip()
            if f"{current}.".startswith(f"{dotted}."):
                return number
            head_line = number if current == table else head_line
        elif current == table and re.match(rf"{re.escape(key)}\s*=", bare):
            return number
    return head_line
