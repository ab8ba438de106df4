"""`vaultlayer doctor`."""

import sys

from vaultlayer.settings import find_home
from vaultlayer_cli import exit_codes
from vaultlayer_cli.checks import Check, all_checks
from vaultlayer_cli.connect import run_async
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.terminal import has_colour, paint, print_json

STYLES = {"ok": "green", "warn": "yellow", "fail": "red bold"}


def doctor(as_json: AsJson = False) -> int:
    """Check everything a job needs, and say how to mend it.

    Each line is ok, warn or fail; the exit status is 1 when one failed.
    """

    def tell(check: Check) -> None:
        if as_json:
            print_json(check)
        else:
            sys.stdout.write(check_text(check, colour=has_colour(sys.stdout)))
            sys.stdout.flush()

    fine = run_async(all_checks, find_home(), tell)
    return exit_codes.OK if fine else exit_codes.DOCTOR_FAILED


def check_text(check: Check, *, colour: bool) -> str:
    """Give a check on one line, and how to mend it on another."""
    verdict = paint(check.verdict.ljust(4), STYLES[check.verdict], colour=colour)
    found = " ".join(check.found.split())
    line = f"{verdict}  {check.name:<14}  {found}\n"
    return line + (f"      {'':<14}  mend: {check.mend}\n" if check.mend else "")
