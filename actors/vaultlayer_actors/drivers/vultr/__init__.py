"""Vultr as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.vultr.driver import TYPE

DRIVER: DriverType = TYPE
