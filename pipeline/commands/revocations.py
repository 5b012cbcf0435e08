"""`session-risk revocations`: the delivery state of revocations, from the transmitter's store."""

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
from pipeline.transmitter.store.revocations import Command, list_commands

STATES: Final[tuple[CommandState, ...]] = get_args(CommandState)
PENDING: Final[tuple[CommandState, ...]] = ("open", "delivered")
_STORED_STATES: Final[dict[CommandState | None, tuple[CommandState, ...]]] = {"overdue": ("overdue", *PENDING)}
"""Stored states of the commands that are now in a state, if there are several."""


@click.command("revocations", short_help="Show the state of revocations: delivered, confirmed, overdue.")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state; else all.")
@click.option(
    "--most", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Maximum number, the newest first."
)
@as_json
def command(*, state: CommandState | None, most: int, as_json: bool) -> None:
    """Show the state of revocations, the newest first.

    open: not delivered yet; delivered: a receiver accepted it, which does not prove that the session has ended;
    confirmed: an enforcer reported that it has ended; failed: an enforcer reported that it could not end it; overdue:
    no enforcer reported by the deadline.
    """
    store = open_existing_store(load_transmitter())
    try:
        with store.read() as conn:
            found = [
                revocation
                for stored in _STORED_STATES.get(state, (state,))
                for revocation in list_commands(conn, stored, most)
            ]
    finally:
        store.close()
    known = sorted(as_of(int(time() * 1000), found), key=lambda revocation: -revocation.decided_at)
    commands = [item for item in known if state in (None, item.state)][:most]
    if as_json:
        print_json([asdict(item) for item in commands])
        return
    screen().print(grid("decided", "session", "state", ">sent", "details", rows=map(_row, commands)))
    counted = Counter(item.state for item in commands)
    screen().print(", ".join(f"{counted[name]} {name}" for name in STATES if counted[name]) or "none")


def as_of(now_ms: int, commands: list[Command]) -> Iterator[Command]:
    """Yield *commands* with their state at *now_ms*: a deadline passes even if no transmitter runs."""
    for revocation in commands:
        late = revocation.state in PENDING and revocation.sends > 0 and revocation.deadline < now_ms
        yield replace(revocation, state="overdue") if late else revocation


def _row(entry: Command) -> tuple[str, str, str, int, str]:
    return moment(entry.decided_at), entry.session_id, entry.state, entry.sends, _details(entry)


def _details(revocation: Command) -> str:
    by = revocation.enforcer or "an enforcer"
    if revocation.confirmed_at is not None:
        took = (revocation.confirmed_at - revocation.decided_at) / 1000
        return f"{by}: {revocation.outcome}, after {took:.1f} s" if revocation.sends else f"{by}: {revocation.outcome}"
    due = f"due {moment(revocation.deadline)}"
    if revocation.outcome is not None:
        return f"{by}: {revocation.outcome}; {due}"
    return due if revocation.delivered_at is None else f"taken {moment(revocation.delivered_at)}; {due}"
