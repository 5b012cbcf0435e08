"""Terminal output of the commands: tables, JSON, progress bars, and a live table of decisions; and who runs them."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from getpass import getuser
from typing import Any, Final, Self

import click
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

WIDTH: Final = 100
"""Width in columns if the output is not a terminal."""
ROWS: Final = 16
"""Number of decisions in a live table."""

LEVEL_STYLE: Final = {"LOW": "green", "MEDIUM": "yellow", "HIGH": "bold red"}

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def screen(*, err: bool = False) -> Console:
    """Return the console of standard output, or of standard error; plain and 100 columns wide if it is a file."""
    file = sys.stderr if err else sys.stdout
    console = Console(file=file, highlight=False, markup=False)
    return console if console.is_terminal else Console(file=file, highlight=False, markup=False, width=WIDTH)


def current_user() -> str:
    """Return the name of the user who runs this process."""
    try:
        return getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return "unknown"


def print_json(value: Any) -> None:
    """Print *value* as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def grid(*columns: str, rows: Iterable[Sequence[Any]] = ()) -> Table:
    """Return a plain table; columns whose name begins with `>` are aligned right, for numbers."""
    table = Table(box=None, pad_edge=False, show_header=any(name.strip(">") for name in columns))
    for name in columns:
        right = name.startswith(">")
        table.add_column(name.lstrip(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else _cell(cell) for cell in row))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def clock(ms: int) -> str:
    """Return the time of day in UTC."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M:%S}"


def moment(ms: int) -> str:
    """Return date and time in UTC."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def shortened(token_id: str) -> str:
    """Return the beginning of a token's id, to tell tokens apart; a whole id is never shown."""
    return f"{token_id[:4]}…" if len(token_id) > 8 else "…"


def tracked(items: Iterable[Any], text: str, total: int | None) -> Iterator[Any]:
    """Yield *items* with a progress bar on standard error, if that is a terminal; *total* is their number."""
    console = screen(err=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        for number, item in enumerate(items, start=1):
            yield item
            if number % 512 == 0:
                bar.update(task, completed=number)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show *text* on standard error during a long operation, if that is a terminal."""
    console = screen(err=True)
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        yield


def decision_row(decision: Mapping[str, Any]) -> tuple[str, str, str, str, str, str]:
    """Return time, session, level, action, detections and evidence of a `session-risk` record."""
    contributing = [reason for reason in decision["reasons"] if reason["contribution"] > 0]
    why = ", ".join(reason["detection"] for reason in contributing) or "nothing any more"
    evidence = [event for reason in contributing for event in reason.get("evidence") or ()]
    level, action = decision["level"], decision["action"]
    return clock(decision["occurred_at"]), decision["session_id"], level, action, why, _newest(evidence)


def _newest(evidence: Sequence[str]) -> str:
    """The id of the newest event, cut at its start as ids differ at their ends, and the number of others."""
    if not evidence:
        return "–"
    more = f" +{len(evidence) - 1}" if len(evidence) > 1 else ""
    width = _COLUMNS[-1][1] - len(more)
    return (evidence[-1] if len(evidence[-1]) <= width else "…" + evidence[-1][1 - width :]) + more


_COLUMNS: Final = (("time", 8), ("session", 15), ("level", 6), ("action", 7), ("why", 33), ("evidence", 24))
"""Names and widths; with a space between them they take 98 columns."""


class Board:
    """Context manager that shows decisions: the newest in a live table on a terminal, else one line each."""

    def __init__(self, title: str, console: Console) -> None:
        self._console = console
        self._title = title
        self._newest: deque[tuple[str, ...]] = deque(maxlen=ROWS)
        self._live = Live(self._table(), console=console, refresh_per_second=8)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._console.print(self._table())
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def decided(self, decision: Mapping[str, Any]) -> None:
        """Show a `session-risk` record."""
        row = decision_row(decision)
        if self._console.is_terminal:
            self._newest.append(row)
            self._live.update(self._table())
        else:
            self._console.print(_line(row))

    def status(self, text: str) -> None:
        """Replace the title of the live table; shown only on a terminal."""
        self._title = text
        self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(box=None, title=self._title, pad_edge=False, padding=(0, 1, 0, 0))
        table.title_justify, table.title_style = "left", "bold"
        for name, width in _COLUMNS:
            table.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
        for row in self._newest:
            style = LEVEL_STYLE[row[2]]
            table.add_row(*row[:2], Text(row[2], style), Text(row[3], style), *row[4:])
        return table


def _line(row: tuple[str, ...]) -> str:
    cells = (_cut(cell, width) for cell, (_, width) in zip(row, _COLUMNS, strict=True))
    return " ".join(cells).rstrip()


def _cut(text: str, width: int) -> str:
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)
