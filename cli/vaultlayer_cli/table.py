"""Aligned columns that fit the screen; in a pipe nothing is cut."""

import sys
from collections.abc import Sequence

import msgspec

from vaultlayer_cli.terminal import has_colour, paint, width_of

GAP = "  "


class Column(msgspec.Struct, frozen=True):
    """One column: its head, which way it leans, and whether it gives way on a narrow screen."""

    head: str
    is_number: bool = False
    least: int = 0
    """Above zero: may be cut down to so many characters; the first such columns give way last."""
    is_optional: bool = False
    """Left out where there is no room; the last such column goes first."""


def table_text(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    colour: bool = False,
    styles: Sequence[Sequence[str]] = (),
) -> str:
    """Give the table with a head line; ends with a newline.

    Args:
        columns: from left to right; a column without any text is left out.
        rows: cells, one a column; newlines in them become spaces.
        width: characters of one line at most, as far as the columns give way.
        colour: whether to use `styles`.
        styles: style of each cell, as `terminal.paint` reads it; empty: none.
    """
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    shown = [i for i in range(len(columns)) if any(row[i] for row in cells)] if cells else []
    shown = shown or list(range(len(columns)))
    widths = {i: max([len(columns[i].head), *(len(row[i]) for row in cells)]) for i in shown}
    _drop(columns, widths, width)
    _narrow(columns, widths, width - len(GAP) * (len(widths) - 1))
    lines = [_line(columns, widths, [c.head for c in columns], ["bold"] * len(columns), colour)]
    for number, row in enumerate(cells):
        style = styles[number] if number < len(styles) else [""] * len(columns)
        lines.append(_line(columns, widths, row, style, colour))
    return "\n".join(lines) + "\n"


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], styles: Sequence[Sequence[str]] = ()
) -> None:
    """Print the table on stdout as wide as the screen is."""
    out = sys.stdout
    out.write(table_text(columns, rows, width=width_of(out), colour=has_colour(out), styles=styles))


def pairs_text(pairs: Sequence[tuple[str, str]], *, colour: bool = False) -> str:
    """Give `name  value` lines with the values under one another; empty values are left out."""
    told = [(name, value) for name, value in pairs if value]
    most = max((len(name) for name, _ in told), default=0)
    return "".join(
        f"{paint(name.ljust(most), 'bold', colour=colour)}{GAP}{value}\n" for name, value in told
    )


def _drop(columns: Sequence[Column], widths: dict[int, int], width: int) -> None:
    """Leave out optional columns, the last one first, until the rest can be made to fit."""
    for i in [i for i in reversed(widths) if columns[i].is_optional]:
        least = [min(size, columns[n].least or size) for n, size in widths.items()]
        if sum(least) + len(GAP) * (len(widths) - 1) <= width:
            return
        del widths[i]


def _narrow(columns: Sequence[Column], widths: dict[int, int], room: int) -> None:
    """Cut the columns that give way, the last one first, until all fit."""
    for i in reversed(list(widths)):
        over = sum(widths.values()) - room
        if over <= 0:
            return
        if columns[i].least:
            widths[i] = max(columns[i].least, len(columns[i].head), widths[i] - over)


def _line(
    columns: Sequence[Column],
    widths: dict[int, int],
    row: Sequence[str],
    styles: Sequence[str],
    colour: bool,
) -> str:
    parts: list[str] = []
    for i, size in widths.items():
        text = row[i] if len(row[i]) <= size else row[i][: max(0, size - 1)] + "…"
        padded = text.rjust(size) if columns[i].is_number else text.ljust(size)
        parts.append(
            padded.replace(text, paint(text, styles[i], colour=colour), 1) if text else padded
        )
    return GAP.join(parts).rstrip()
