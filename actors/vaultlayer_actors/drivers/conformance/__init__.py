"""What every driver must keep, as tests that run against its simulator; a driver of your own can use them.

```python
from vaultlayer_actors.drivers.conformance import Case, DriverConformance

class TestMyCloud(DriverConformance):
    case = Case(kind=DRIVER, simulator=MySimulator, need=Need(gpu="RTX4090", gpu_count=1))
```

Run by pytest with anyio's plugin. Time is virtual, so nothing waits.
"""

from vaultlayer_actors.drivers.conformance.case import Case, Rig
from vaultlayer_actors.drivers.conformance.suite import DriverConformance

__all__ = ["Case", "DriverConformance", "Rig"]
