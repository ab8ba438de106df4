"""Verda (formerly DataCrunch) as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.verda.driver import TYPE

DRIVER: DriverType = TYPE
