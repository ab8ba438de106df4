"""RunPod as a provider."""

from vaultlayer.driver import DriverType
from vaultlayer_actors.drivers.runpod.driver import TYPE

DRIVER: DriverType = TYPE
"""RunPod: pods on demand, in its own data centres or its community's; a pod is one container."""
