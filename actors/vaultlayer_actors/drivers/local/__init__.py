"""This machine as a provider: instances are process trees of their own."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.local.driver import LocalDriverType

DRIVER: DriverType = LocalDriverType()
