"""Acme GPU, a cloud that does not exist: the smallest whole driver, for docs/writing-a-driver.md."""

from acme.driver import TYPE
from vaultlayer.driver import DriverType

DRIVER: DriverType = TYPE
