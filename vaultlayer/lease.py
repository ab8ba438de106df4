"""Lease arithmetic. Only clock *rates* matter; no two clocks need to agree.

The agent counts from the moment it *sent* a beat that was granted; the broker from the moment it
*received* one. As receipt is never before sending, the agent always stops first if
`broker_s >= agent_s * (1 + rho) / (1 - rho) + margin_s`, where rho bounds how much faster or slower
a clock runs than real time. The lease bounds waste; safety lies in the log.
"""

import msgspec

CLOCK_RATE_ERROR = 0.01
"""One percent: a hundred times worse than the crystal of a bad machine."""


class LeaseTerms(msgspec.Struct, frozen=True, kw_only=True):
    """How often to beat and how long silence is borne, in seconds."""

    beat_s: float = 5.0
    suspect_s: float = 12.0
    agent_s: float = 25.0
    broker_s: float = 30.0
    orphan_s: float = 900.0
    """Without a grant for so long, a machine saves what it can and ends itself."""

    def fault(self) -> str:
        """Say what is wrong with the terms, or give an empty string."""
        least = least_broker_s(self.agent_s)
        if not 0 < self.beat_s < self.suspect_s < self.broker_s:
            return "beat_s < suspect_s < broker_s must hold"
        if self.broker_s < least:
            return f"broker_s must be at least {least:.1f} for agent_s = {self.agent_s:g}"
        if self.orphan_s <= self.broker_s:
            return "orphan_s must be longer than broker_s"
        return ""


PROFILES = {
    "fast": LeaseTerms(beat_s=2.0, suspect_s=5.0, agent_s=12.0, broker_s=15.0),
    "default": LeaseTerms(),
    "patient": LeaseTerms(beat_s=10.0, suspect_s=30.0, agent_s=75.0, broker_s=90.0),
}


def least_broker_s(agent_s: float, rho: float = CLOCK_RATE_ERROR, margin_s: float = 1.0) -> float:
    """Give the shortest broker-side lease that always ends after the agent's own."""
    return agent_s * (1 + rho) / (1 - rho) + margin_s


class AgentLease(msgspec.Struct, frozen=True):
    """The agent's own view; times are its boot-time clock."""

    granted_until_s: float = 0.0
    last_grant_s: float = 0.0

    def granted(self, sent_s: float, lease_s: float) -> "AgentLease":
        """Take in a grant for the beat sent at `sent_s`; an older one changes nothing."""
        until_s = max(self.granted_until_s, sent_s + lease_s)
        return AgentLease(until_s, max(self.last_grant_s, sent_s))

    def is_held(self, now_s: float) -> bool:
        """Whether the agent may still call itself the owner."""
        return now_s < self.granted_until_s
