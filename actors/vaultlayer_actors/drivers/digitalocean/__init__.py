"""DigitalOcean as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.digitalocean.driver import TYPE

DRIVER: DriverType = TYPE
