"""Options that the drivers of all clouds share, and how a driver is built from them."""

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import msgspec

from vaultlayer.driver import Driver, DriverContext, Manifest
from vaultlayer.errors import ConfigError


class CloudOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.<name>]` of the configuration file; a driver's own options extend this."""

    endpoint: str = ""
    """Base URL of the API; empty: the provider's own."""
    ca_file: str = ""
    """Certificates that a private endpoint is checked against."""
    spot: Literal["allow", "never", "only"] = "allow"
    regions: list[str] = []
    """Where machines may stand, as the provider spells it; empty: anywhere."""
    disk_gb: float = 64.0
    work_root: str = ""
    """Where working directories stand on its machines; empty: the driver's own."""
    image: str = ""
    """Container image (or machine image) of jobs that name none; empty: the driver's own."""
    offers_max: int = 20
    """How many offers are shown at most, cheapest first."""
    wheels_url: str = ""
    """A presigned URL of a .tar.gz of wheels, for machines that reach no package index."""


O_co = TypeVar("O_co", bound=CloudOptions, covariant=True)


class CloudDriverType(Generic[O_co]):
    """What a cloud's entry point names.

    Args:
        manifest: of the provider.
        options: the type of its options.
        make: builds the driver from the context and the options.
    """

    def __init__(
        self,
        manifest: Manifest,
        options: type[O_co],
        make: Callable[[DriverContext, O_co], Driver],
    ) -> None:
        self._manifest = manifest
        self._options = options
        self._make = make

    @property
    def manifest(self) -> Manifest:
        """What is true of the provider as a whole."""
        return self._manifest

    @property
    def options(self) -> type[O_co]:
        """The shape of the provider's table."""
        return self._options

    def build(self, context: DriverContext) -> Driver:
        """Make a driver; raises ConfigError for options that it cannot use or a key that is missing."""
        name = self._manifest.name
        try:
            options = msgspec.convert(dict(context.options), self._options)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"[providers.{name}]: an option cannot be used", why=str(error)
            ) from error
        missing = [key for key in self._manifest.keys if not context.secrets.get(key)]
        if missing:
            raise ConfigError(
                f"[providers.{name}]: no {', '.join(missing)} is in the vault",
                mend=f"vaultlayer providers key {name}",
            )
        return self._make(context, options)
