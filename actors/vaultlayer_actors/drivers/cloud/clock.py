"""Real time for drivers; a simulation gives its own `vaultlayer.driver.Clock`."""

import anyio


class SteadyClock:
    """Seconds that never jump, of this process."""

    def now_s(self) -> float:
        """Give seconds since some moment in the past."""
        return anyio.current_time()

    async def sleep(self, pause_s: float) -> None:
        """Wait."""
        await anyio.sleep(pause_s)
