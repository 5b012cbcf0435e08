"""Tokens in the demo: the Security Event Token that an identity provider would receive for each story."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import from_json
from rich.console import Console

from pipeline.console import grid
from pipeline.offline.scenarios.demo import Report
from pipeline.offline.scenarios.scenario import Scenario
from pipeline.transmitter.preview import Token, tokens_of

TokensByStory = dict[str, Token]
"""Tokens by the letter of their story."""


def tokens_by_story(report: Report, stories: Sequence[Scenario], now_ms: int) -> TokensByStory:
    """Return, for each story that ends with a revocation, the verified token of its first revocation."""
    attacks = [story for story in stories if not story.twin]
    names = {name for story in attacks for name in story.expect}
    pairs = [(topic, value) for topic, value in report.messages if from_json(value)["session_id"] in names]
    if not pairs:
        return {}
    revoked = {token.session_id: token for token in tokens_of(pairs, now_ms) if token.event == "session-revoked"}
    tokens: TokensByStory = {}
    for story in attacks:
        for name in story.expect:
            if name in revoked:
                tokens.setdefault(story.story, revoked[name])
    return tokens


def show(console: Console, tokens: TokensByStory) -> None:
    """Print what an identity provider would receive: a line per story, and the first token in full."""
    if not tokens:
        return
    console.print("what an identity provider would receive: each verified with the published keys", style="bold")
    console.print(grid("", "story", "event", "subject", "because of", rows=_rows(tokens)))
    console.print("\nthe first of them, decoded:", style="bold")
    console.print(next(iter(tokens.values())).text())
    console.print()


def plain(tokens: TokensByStory) -> list[dict[str, Any]]:
    """Return the tokens as plain values."""
    return [
        {"story": story, "session": token.session_id, "header": token.header, "claims": token.claims}
        for story, token in tokens.items()
    ]


def _rows(tokens: TokensByStory) -> Iterator[tuple[str, str, str, str, str]]:
    for story, token in tokens.items():
        detections = str(token.payload["reason_admin"]["en"]).rpartition(" (")[2].rstrip(")")
        yield "✔", story, token.event, str(token.claims["sub_id"]["sub"]), detections
