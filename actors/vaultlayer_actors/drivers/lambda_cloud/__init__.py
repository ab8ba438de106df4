"""Lambda as a provider; the package is not called `lambda` because Python keeps that word."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.lambda_cloud.driver import TYPE

DRIVER: DriverType = TYPE
"""Lambda: whole virtual machines on demand, at a fixed price."""
