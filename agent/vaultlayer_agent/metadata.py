"""What a machine's metadata service says about its end: the only warning that a spot machine gets.

The service is reached at 169.254.169.254 from the machine itself and from nowhere else; simulated machines
are told another base by `VAULTLAYER_METADATA_URL`. Everything here blocks for two seconds at most and never
raises: a service that does not answer is no notice.
"""

import os
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import NamedTuple

import msgspec

from vaultlayer_agent.notice import Notice

VARIABLE = "VAULTLAYER_METADATA_URL"
ADDRESS = "http://169.254.169.254"
ANSWER_S = 2.0

AWS_SPOT_S = 120.0
"""How long before the end EC2 tells of it, at best."""
AWS_REBALANCE_S = 600.0
"""A recommendation names no end: long enough to move in peace, and shortened by the real notice."""
AWS_TOKEN_S = 21600
GCE_PREEMPTED_S = 30.0
"""From the flag to the end of the power on Compute Engine, at best."""


class Answer(NamedTuple):
    """What the service said; status 0: nobody answered."""

    status: int
    text: str = ""


def base_url() -> str:
    """Give where this machine's metadata are."""
    return os.environ.get(VARIABLE, "").rstrip("/") or ADDRESS


def ask(url: str, headers: dict[str, str], method: str = "GET") -> Answer:
    """Make one request past every proxy: the service is on the link, and nowhere else."""
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310  http by design
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=ANSWER_S) as answer:
            return Answer(answer.status, answer.read(4096).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return Answer(error.code)
    except (OSError, ValueError):
        return Answer(0)


class _Action(msgspec.Struct):
    time: str = ""


class AwsLook:
    """EC2's instance metadata, version 2: first a token, then questions."""

    def __init__(self, base: str) -> None:
        self._base = f"{base}/latest"
        self._token = ""

    def __call__(self) -> Notice | None:
        """Ask for the spot notice, and where there is none for the recommendation to leave."""
        action = self._get("meta-data/spot/instance-action")
        if action.status == 200:
            return Notice(grace_s=_left_s(action.text), source="aws-spot")
        advice = self._get("meta-data/events/recommendations/rebalance")
        if advice.status == 200:
            return Notice(grace_s=AWS_REBALANCE_S, source="aws-rebalance")
        return None

    def _get(self, path: str) -> Answer:
        for _ in range(2):
            if not self._token and not self._renew():
                return Answer(0)
            found = ask(f"{self._base}/{path}", {"X-aws-ec2-metadata-token": self._token})
            if found.status != 401:
                return found
            self._token = ""
        return Answer(401)

    def _renew(self) -> bool:
        life = {"X-aws-ec2-metadata-token-ttl-seconds": str(AWS_TOKEN_S)}
        found = ask(f"{self._base}/api/token", life, "PUT")
        self._token = found.text.strip() if found.status == 200 else ""
        return bool(self._token)


def _left_s(text: str) -> float:
    """Give the seconds until the time in a spot notice; one that cannot be read is as long as any."""
    try:
        ends = datetime.fromisoformat(msgspec.json.decode(text, type=_Action).time)
        return round(min(max(ends.timestamp() - time.time(), 0.0), AWS_SPOT_S), 1)
    except (msgspec.MsgspecError, ValueError, TypeError):
        return AWS_SPOT_S


class GceLook:
    """Compute Engine's metadata: one word that turns to TRUE."""

    def __init__(self, base: str) -> None:
        self._url = f"{base}/computeMetadata/v1/instance/preempted"

    def __call__(self) -> Notice | None:
        """Ask whether the machine has been preempted."""
        found = ask(self._url, {"Metadata-Flavor": "Google"})
        if found.status == 200 and found.text.strip().upper() == "TRUE":
            return Notice(grace_s=GCE_PREEMPTED_S, source="gce-preempted")
        return None
