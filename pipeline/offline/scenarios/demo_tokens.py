"""What the demonstration shows of tokens: with which an identity provider would hear of each story."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import from_json
from rich.console import Console

from pipeline.console import grid
from pipeline.offline.scenarios.demo import Report
from pipeline.offline.scenarios.scenario import Scenario
from pipeline.transmitter.preview import Token, tokens_of

Told = dict[str, Token]
"""A token by the letter of its story."""


def told_of(report: Report, stories: Sequence[Scenario], now_ms: int) -> Told:
    """Return for each story that ends with a revocation the token that tells of the first one, verified."""
    attacks = [story for story in stories if not story.twin]
    names = {name for story in attacks for name in story.expect}
    pairs = [(topic, value) for topic, value in report.messages if from_json(value)["session_id"] in names]
    if not pairs:
        return {}
    revoked = {token.session_id: token for token in tokens_of(pairs, now_ms) if token.event == "session-revoked"}
    told_read: Told = {}
    for story in attacks:
        for name in story.expect:
            if name in revoked:
                told_read.setdefault(story.story, revoked[name])
    return told_read


def show(console: Console, details: Told) -> None:
    """Print what would reach an identity provider: a line a story, and the first token whole."""
    if not details:
        return
    console.print("what an identity provider would receive: each verified with the published keys", style="bold")
    console.print(grid("", "story", "event", "subject", "because of", rows=_rows(details)))
    console.print("\nthe first of them, decoded:", style="bold")
    console.print(next(iter(details.values())).text())
    console.print()


def plain(details: Told) -> list[dict[str, Any]]:
    """Return the same for a program."""
    return [
        {"story": story, "session": token.session_id, "header": token.header, "claims": token.claims}
        for story, token in details.items()
    ]


def _rows(details: Told) -> Iterator[tuple[str, str, str, str, str]]:
    for story, token in details.items():
        detections = str(token.payload["reason_admin"]["en"]).rpartition(" (")[2].rstrip(")")
        yield "✔", story, token.event, str(token.claims["sub_id"]["sub"]), detections
