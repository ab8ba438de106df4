"""CloudRift as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.cloudrift.driver import TYPE

DRIVER: DriverType = TYPE
