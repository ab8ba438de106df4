"""The options of `vaultlayer run`, by name."""

from pathlib import Path
from typing import Annotated

import typer

Command = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[--] CMD [ARGS]...",
        help="What to run; all that follows its first word belongs to it.",
        show_default=False,
    ),
]
Gpu = Annotated[str, typer.Option(metavar="NAME[:N]", help="GPU, such as A100_40:2.")]
Env = Annotated[
    list[str] | None,
    typer.Option(metavar="K=V|K", help="A variable; K alone takes the value from here."),
]
EnvFile = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Variables from a dotenv file.")
]
Name = Annotated[str, typer.Option(metavar="NAME", help="A name to call the job by.")]
Provider = Annotated[
    list[str] | None, typer.Option(metavar="P", help="Only on this provider; may be repeated.")
]
Image = Annotated[str, typer.Option(metavar="IMAGE", help="Container image.")]
Output = Annotated[
    list[str] | None,
    typer.Option(metavar="DIR", help="Keep this directory too, also outside the working one."),
]
ResumeArgs = Annotated[
    str, typer.Option(metavar="ARGS", help="Added on a restart, such as '--resume {latest}'.")
]
NoHooks = Annotated[bool, typer.Option("--no-hooks", help="Leave the script's interpreter alone.")]
Detach = Annotated[
    bool, typer.Option("--detach", "-d", help="Submit, print the job's id, and return.")
]
MaxCost = Annotated[
    float | None, typer.Option(metavar="USD", help="Cap over all machines of the job.")
]
MaxPrice = Annotated[float | None, typer.Option(metavar="USD", help="Cap per machine and hour.")]
Restarts = Annotated[
    int, typer.Option(metavar="N", min=0, help="Start a script that failed by itself again.")
]
Deadline = Annotated[
    str, typer.Option(metavar="TIME", help="Give up after so long, such as 2h30m.")
]
Exclusive = Annotated[
    bool, typer.Option("--exclusive", help="Start again only when the old machine is surely gone.")
]
SnapshotEvery = Annotated[
    str,
    typer.Option(
        metavar="TIME|N|off",
        help="Snapshots for exact resume: 5m, 200steps, or off; else we choose.",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Pause the script while the broker is out of reach.")
]
