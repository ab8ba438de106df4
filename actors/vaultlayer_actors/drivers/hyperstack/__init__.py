"""Hyperstack as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.hyperstack.driver import TYPE

DRIVER: DriverType = TYPE
