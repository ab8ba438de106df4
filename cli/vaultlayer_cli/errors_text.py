"""How an error looks to a person, and to a program."""

import sys

from vaultlayer.errors import ErrorBody, VaultLayerError
from vaultlayer_cli.terminal import has_colour, paint, print_json


def show_error(error: VaultLayerError, *, as_json: bool) -> int:
    """Tell one error and give its exit status; a program gets the ErrorBody as a line on stdout."""
    if as_json:
        print_json(error.body())
    else:
        sys.stdout.flush()
        sys.stderr.write(error_text(error.body(), colour=has_colour(sys.stderr)))
    return error.exit_status


def error_text(body: ErrorBody, *, colour: bool) -> str:
    """Give what, why and how to mend it, with the stable code; ends with a newline."""
    head = paint("error:", "red bold", colour=colour)
    code = paint(f"[{body.code}]", "dim", colour=colour)
    lines = [f"{head} {_hang(body.what, 7)}  {code}"]
    if body.why:
        lines.append(f"  {paint('why:', 'bold', colour=colour)}  {_hang(body.why, 8)}")
    if body.mend:
        lines.append(f"  {paint('mend:', 'bold', colour=colour)} {_hang(body.mend, 8)}")
    return "\n".join(lines) + "\n"


def _hang(text: str, indent: int) -> str:
    return text.replace("\n", "\n" + " " * indent)
