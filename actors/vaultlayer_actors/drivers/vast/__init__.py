"""Vast.ai as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.vast.driver import TYPE

DRIVER: DriverType = TYPE
