"""AWS EC2 as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.aws.driver import TYPE

DRIVER: DriverType = TYPE
"""AWS EC2: virtual machines on demand or spot, in several regions; two minutes' notice at best."""
