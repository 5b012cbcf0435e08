"""`session-risk diff`: differences between two replays, first a summary, then session by session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pipeline.console import as_json, clock, grid, print_json, screen
from pipeline.offline.replay.diff import Change, Difference, Pair, differences, plain, read_output, summary

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("diff", short_help="Show what two replays decide differently, and why.")
@click.argument("a", type=FOLDER)
@click.argument("b", type=FOLDER)
@click.option(
    "--sessions", type=click.IntRange(0), default=20, show_default=True, help="Number of sessions to show in full."
)
@as_json
def command(*, a: Path, b: Path, sessions: int, as_json: bool) -> int:
    """Show what the replays in the folders A and B decide differently, and which reasons cause it.

    Replay one recording with two policies or two models into A and B. Exit code 0 if all decisions and commands are
    the same, 1 if not.
    """
    first, second = read_output(a), read_output(b)
    found = differences(first, second)
    numbers = summary(first, second, found)
    if as_json:
        print_json({**numbers, "differences": plain(found)})
    else:
        _show(screen(), numbers, found, sessions)
    return 1 if found else 0


def _show(console: Console, numbers: dict[str, Any], found: list[Difference], limit: int) -> None:
    rows: list[tuple[Any, ...]] = [
        (name.replace("_", " "), *(_named(number) for number in numbers[name]))
        for name in (
            "models",
            "policies",
            "decisions",
            "decisions_only",
            "revocations_only",
            "challenges_only",
        )
    ]
    console.print(grid("", ">A", ">B", rows=rows))
    console.print(
        f"\n{numbers['sessions_differ']:,} of {numbers['sessions']:,} sessions differ, "
        f"{numbers['decisions_changed']:,} decisions made in both are not the same"
    )
    for difference in found[:limit]:
        _show_session(console, difference)
    if len(found) > limit:
        console.print(f"\nand {len(found) - limit:,} more sessions: --sessions shows more, --json all")


def _named(value: Any) -> Any:
    return ", ".join(value) or "none" if isinstance(value, list) else value


def _show_session(console: Console, difference: Difference) -> None:
    console.print(f"\nsession {difference.session_id} of tenant {difference.tenant}", style="bold")
    rows = [(clock(c.occurred_at), c.caused_by, _how(c), _why(c)) for c in difference.decisions]
    if rows:
        console.print(grid("time", "event", "decision", "reasons", rows=rows))
    for command in difference.commands:
        why = ", ".join(command.detections) or "the model alone"
        console.print(f"only {command.only}: {command.topic} {command.command_id} for {why}")


def _how(change: Change) -> str:
    if change.only:
        return f"only in {change.only}"
    return ", ".join(f"{name} {_pair(pair)}" for name, pair in change.members.items()) or "same"


def _why(change: Change) -> str:
    return ", ".join(f"{name} {_pair(pair)}" for name, pair in change.reasons.items()) or "same"


def _pair(pair: Pair) -> str:
    a, b = (f"{item:+.2f}" if isinstance(item, float) else item or "–" for item in pair)
    return f"{a} → {b}"
