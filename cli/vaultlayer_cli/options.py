"""Arguments and options that several commands share."""

from typing import Annotated

import typer

from vaultlayer_cli import terminal

Job = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Job id, the beginning of one, a job's name, or @last for the newest.",
        show_default=False,
    ),
]


def _note_json(value: bool) -> bool:
    """Remember it for whoever tells an error: by then the command's own parameters are gone."""
    terminal.wants_json = terminal.wants_json or value
    return value


AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="One JSON object a line on stdout.", is_eager=True, callback=_note_json
    ),
]
