"""Asks one provider, through its pool, whether it can be used, and tells each finding with its remedy."""

import sys

from vaultlayer import subjects
from vaultlayer.messages import CheckReply, CheckRequest
from vaultlayer_cli import exit_codes
from vaultlayer_cli.checks import Check
from vaultlayer_cli.commands.doctor import check_text
from vaultlayer_cli.connect import session
from vaultlayer_cli.terminal import has_colour, print_json

CHECK_S = 100.0
"""The calls of a check must be seconds apart at some providers."""


async def check(name: str, *, as_json: bool) -> int:
    """Print a line a finding; the exit status is 1 when one failed."""
    async with session() as opened:
        reply = await opened.bus.request(
            subjects.CHECK, CheckRequest(provider=name), CheckReply, timeout_s=CHECK_S
        )
    for row in reply.rows:
        found = Check(name=row.name, verdict=row.verdict, found=row.found, mend=row.mend)
        if as_json:
            print_json(found)
        else:
            sys.stdout.write(check_text(found, colour=has_colour(sys.stdout)))
    failed = any(row.verdict == "fail" for row in reply.rows)
    return exit_codes.DOCTOR_FAILED if failed else exit_codes.OK
