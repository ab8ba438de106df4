"""Arguments and options that several commands share."""

from typing import Annotated

import typer

Job = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Job id, the beginning of one, a job's name, or @last for the newest.",
        show_default=False,
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
