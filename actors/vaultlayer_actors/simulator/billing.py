"""What a simulated provider has billed, to the second."""

import msgspec


class Charge(msgspec.Struct, kw_only=True):
    """One machine at one rate, from one moment to another."""

    machine: str
    usd_h: float
    from_s: float
    to_s: float | None = None
    """None: it is billed on."""

    def usd(self, now_s: float) -> float:
        """Give the dollars until now."""
        until_s = now_s if self.to_s is None else self.to_s
        return self.usd_h * max(0.0, until_s - self.from_s) / 3600.0


class Ledger:
    """All charges of an account."""

    def __init__(self) -> None:
        self.charges: list[Charge] = []

    def bill(self, machine: str, usd_h: float, now_s: float) -> None:
        """Bill a machine at this rate from now on; 0 ends its billing."""
        for charge in self.charges:
            if charge.machine == machine and charge.to_s is None:
                if charge.usd_h == usd_h:
                    return
                charge.to_s = now_s
        if usd_h:
            self.charges.append(Charge(machine=machine, usd_h=usd_h, from_s=now_s))

    def billed(self) -> list[str]:
        """List the machines that are billed now."""
        return [charge.machine for charge in self.charges if charge.to_s is None]

    def total_usd(self, now_s: float) -> float:
        """Give all dollars until now."""
        return sum(charge.usd(now_s) for charge in self.charges)
