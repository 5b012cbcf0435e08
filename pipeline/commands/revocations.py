"""`session-risk revocations`: what became of commands to end a session, as the transmitter's store has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from time import time
from typing import Final, get_args

import click

from pipeline.console import as_json, grid, moment, print_json, screen
from pipeline.settings.loading import load_transmitter
from pipeline.transmitter.protocol import CommandState
from pipeline.transmitter.store.database import open_existing_store
from pipeline.transmitter.store.revocations import Command, listed

STATES: Final[tuple[CommandState, ...]] = get_args(CommandState)
PENDING: Final[tuple[CommandState, ...]] = ("open", "delivered")
_KEPT_AS: Final[dict[CommandState | None, tuple[CommandState, ...]]] = {"overdue": ("overdue", *PENDING)}
"""Under which states those lie in the store that are now in a state; the others, under that one."""


@click.command("revocations", short_help="Tell what became of revocations: delivered, confirmed, overdue.")
@click.option("--state", type=click.Choice(STATES), help="Only those that are so; else all.")
@click.option("--most", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="The newest so many.")
@as_json
def command(*, state: CommandState | None, most: int, as_json: bool) -> None:
    """Tell what became of revocations, the newest first.

    open: nobody has it yet; delivered: a receiver took it, which does not say that the session is dead;
    confirmed: an enforcer says that it is; failed: it says that it could not; overdue: nobody has said
    anything by the deadline.
    """
    store = open_existing_store(load_transmitter())
    try:
        with store.read() as conn:
            found = [
                this_command for kept in _KEPT_AS.get(state, (state,)) for this_command in listed(conn, kept, most)
            ]
    finally:
        store.close()
    known = sorted(as_of(int(time() * 1000), found), key=lambda this_command: -this_command.decided_at)
    commands = [item for item in known if state in (None, item.state)][:most]
    if as_json:
        print_json([asdict(item) for item in commands])
        return
    screen().print(grid("decided", "session", "state", ">sent", "what is known", rows=map(_row, commands)))
    counted = Counter(item.state for item in commands)
    screen().print(", ".join(f"{counted[name]} {name}" for name in STATES if counted[name]) or "none")


def as_of(now_ms: int, commands: list[Command]) -> Iterator[Command]:
    """Yield what *told* comes to now: a deadline passes whether or not a transmitter looks."""
    for this_command in commands:
        late = this_command.state in PENDING and this_command.sends > 0 and this_command.deadline < now_ms
        yield replace(this_command, state="overdue") if late else this_command


def _row(entry: Command) -> tuple[str, str, str, int, str]:
    return moment(entry.decided_at), entry.session_id, entry.state, entry.sends, _known(entry)


def _known(command_row: Command) -> str:
    by = command_row.enforcer or "an enforcer"
    if command_row.confirmed_at is not None:
        took = (command_row.confirmed_at - command_row.decided_at) / 1000
        return (
            f"{by}: {command_row.outcome}, after {took:.1f} s" if command_row.sends else f"{by}: {command_row.outcome}"
        )
    due = f"due {moment(command_row.deadline)}"
    if command_row.outcome is not None:
        return f"{by}: {command_row.outcome}; {due}"
    return due if command_row.delivered_at is None else f"taken {moment(command_row.delivered_at)}; {due}"
