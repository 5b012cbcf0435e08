"""The demo shows, for each story, the verified token that an identity provider would receive."""

from __future__ import annotations

import io
import json

from rich.console import Console

from pipeline.offline.scenarios.demo import Report
from pipeline.offline.scenarios.demo_tokens import plain, show, tokens_by_story
from pipeline.offline.scenarios.scenario import Expectation, Scenario
from pipeline.transmitter.preview import AUD, ISSUER, tokens_of
from tests.support.samples import T0
from tests.support.ssf_records import Record, decision, revocation

URI = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
SESSION = {"session_id": "s-1", "decision_id": "d-1", "principal_id": "ana", "device_id": "phone-1"}
FALLS = [
    decision("LOW", "HIGH", "device_rooted", **SESSION),
    revocation(**SESSION, decided_at=T0),
]


def messages_of(*records: Record) -> list[tuple[str, bytes]]:
    return [(topic, record.model_dump_json(exclude_none=True).encode()) for topic, record in records]


def story(letter: str, *sessions: str, twin: bool = False) -> Scenario:
    expect = {name: Expectation("HIGH", "revoke") for name in sessions}
    return Scenario(f"{letter}-story", "A story", letter, "", twin, [], expect, T0)


def test_what_was_decided_becomes_verified_tokens_with_one_txn() -> None:
    tokens = tokens_of(messages_of(*FALLS), T0 + 5_000)

    assert {(token.event, token.session_id, token.claims["txn"]) for token in tokens} == {
        ("risk-level-change", "s-1", "d-1"),
        ("device-compliance-change", "s-1", "d-1"),
        ("session-revoked", "s-1", "d-1"),
    }
    (revoked,) = [token for token in tokens if token.event == "session-revoked"]
    assert {name: revoked.header[name] for name in ("typ", "alg")} == {"typ": "secevent+jwt", "alg": "RS256"}
    assert revoked.claims == {
        "iss": ISSUER,
        "aud": AUD,
        "jti": revoked.claims["jti"],
        "iat": T0 // 1000 + 5,
        "txn": "d-1",
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "ana"},
        "events": {URI: revoked.payload},
    }
    assert revoked.payload["event_timestamp"] == T0 // 1000


def test_each_story_shows_the_token_of_its_first_revoked_session_and_twins_none() -> None:
    others = [
        revocation(session_id=name, decision_id=f"d-{name}", principal_id=f"p-{name}", decided_at=T0)
        for name in ("s-2", "s-3", "s-4", "of nobody")
    ]
    report = Report(messages=messages_of(*FALLS, *others))
    stories = [story("a", "calm", "s-1"), story("a", "s-2"), story("b", "s-3"), story("c", "s-4", twin=True)]

    tokens = tokens_by_story(report, stories, T0)

    subjects = {letter: token.claims["sub_id"]["sub"] for letter, token in tokens.items()}
    assert subjects == {"a": "ana", "b": "p-s-3"}
    assert [(fields["story"], fields["claims"]["sub_id"]["sub"]) for fields in plain(tokens)] == [
        ("a", "ana"),
        ("b", "p-s-3"),
    ]


def test_it_is_shown_on_less_than_a_screen_with_the_first_token_whole() -> None:
    console = Console(file=io.StringIO(), width=100)
    tokens = tokens_by_story(Report(messages=messages_of(*FALLS)), [story("a", "s-1")], T0)

    show(console, tokens)

    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert any(
        " ".join(line.split()).startswith("✔ a session-revoked ana device_rooted") for line in shown.splitlines()
    )
    assert " ".join(tokens["a"].text().split()) in " ".join(shown.split())
    assert json.loads(tokens["a"].text().partition("\n")[2]) == tokens["a"].claims
    assert len(shown.splitlines()) < 40


def test_where_nothing_was_revoked_nothing_is_shown() -> None:
    console = Console(file=io.StringIO(), width=100)

    show(console, tokens_by_story(Report(), [story("a", "s-1")], T0))

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""
