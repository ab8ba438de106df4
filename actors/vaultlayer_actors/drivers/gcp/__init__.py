"""Google Compute Engine as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.gcp.driver import TYPE

DRIVER: DriverType = TYPE
