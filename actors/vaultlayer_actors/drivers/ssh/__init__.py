"""The user's own machines over SSH as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.ssh.driver import TYPE

DRIVER: DriverType = TYPE
"""Machines by address: nothing is installed on them but the agent, which dials out like on any other."""
