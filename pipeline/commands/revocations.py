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
from pipeline.transmitter.store.database import existing_store_of
from pipeline.transmitter.store.revocations import Command, listed

STATES: Final[tuple[CommandState, ...]] = get_args(CommandState)
PENDING: Final[tuple[CommandState, ...]] = ("open", "delivered")
_KEPT_AS: Final[dict[CommandState | None, tuple[CommandState, ...]]] = {"overdue": ("overdue", *PENDING)}
"""Under which states those lie in the store that are now in a state; the others, under that one."""


@click.command("revocations", short_help="Tell what became of revocations: delivered, confirmed, overdue.")
@click.option("--state", type=click.Choice(STATES), help="Only those that are so; else all.")
@click.option(
    "--most", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="The newest so many."
)
@as_json
def command(*, state: CommandState | None, most: int, as_json: bool) -> None:
    """Tell what became of revocations, the newest first.

    open: nobody has it yet; delivered: a receiver took it, which does not say that the session is dead;
    confirmed: an enforcer says that it is; failed: it says that it could not; overdue: nobody has said
    anything by the deadline.
    """
    store = existing_store_of(load_transmitter())
    try:
        with store.read() as conn:
            found = [one for kept in _KEPT_AS.get(state, (state,)) for one in listed(conn, kept, most)]
    finally:
        store.close()
    known = sorted(as_of(int(time() * 1000), found), key=lambda one: -one.decided_at)
    told = [one for one in known if state in (None, one.state)][:most]
    if as_json:
        print_json([asdict(one) for one in told])
        return
    screen().print(grid("decided", "session", "state", ">sent", "what is known", rows=map(_row, told)))
    counted = Counter(one.state for one in told)
    screen().print(", ".join(f"{counted[name]} {name}" for name in STATES if counted[name]) or "none")


def as_of(now_ms: int, told: list[Command]) -> Iterator[Command]:
    """Yield what *told* comes to now: a deadline passes whether or not a transmitter looks."""
    for one in told:
        late = one.state in PENDING and one.sends > 0 and one.deadline < now_ms
        yield replace(one, state="overdue") if late else one


def _row(one: Command) -> tuple[str, str, str, int, str]:
    return moment(one.decided_at), one.session_id, one.state, one.sends, _known(one)


def _known(one: Command) -> str:
    by = one.enforcer or "an enforcer"
    if one.confirmed_at is not None:
        took = (one.confirmed_at - one.decided_at) / 1000
        return f"{by}: {one.outcome}, after {took:.1f} s" if one.sends else f"{by}: {one.outcome}"
    due = f"due {moment(one.deadline)}"
    if one.outcome is not None:
        return f"{by}: {one.outcome}; {due}"
    return due if one.delivered_at is None else f"taken {moment(one.delivered_at)}; {due}"
