"""Suppressions of a principal: every session is notified of them until they expire."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from pipeline.contexts.keyed_processor import decode_row
from pipeline.contexts.principal.processor import principal_context
from pipeline.contexts.principal.suppressions import MAX_SUPPRESSIONS
from schemas import topics
from tests.support.run_processors import Event, Player, SentMessage, of
from tests.support.samples import T0, activity


def states(sent: list[SentMessage]) -> list[tuple[str, list[str]]]:
    return [(event["state"], event["detections"]) for event in of(sent, topics.SUPPRESSIONS)]


def muted(at: float, name: str, until: float, **members: Any) -> Event:
    fields = {
        "suppression_id": name,
        "session_id": "s-1",
        "state": "created",
        "detections": ["mass_read"],
        "owner": "soc",
        "occurred_at": T0 + round(at * 1000),
        "expires_at": T0 + round(until * 1000),
    }
    return activity(at, kind="muted", event_id=f"v-{name}~a", suppression={**fields, **members})


def test_every_live_session_is_notified_and_each_new_one_first_of_all() -> None:
    player = Player(principal_context())
    player.each(activity(0), activity(1, session_id="s-2"))

    sent = player.play(muted(10, "a", 100))
    starts = player.play(activity(50, session_id="s-3"))
    late = player.play(activity(100, session_id="s-4"))

    assert [(message.key, message.body["muted"]) for message in sent] == [
        ("s-1", {"mass_read": T0 + 100_000}),
        ("s-2", {"mass_read": T0 + 100_000}),
    ]
    assert [message.body["source"] for message in starts] == ["feedback", "principal"]
    assert [event["source"] for event in of(late, topics.SESSION_CONTEXT, "s-4")] == ["principal"]


def test_of_two_suppressions_the_one_that_lasts_longer_counts() -> None:
    player = Player(principal_context())
    player.each(activity(0), muted(10, "a", 500), muted(11, "b", 100, detections=["mass_read", "mfa_fatigue"]))

    (event,) = of(player.play(activity(20, kind="client_changed")), topics.SESSION_CONTEXT)[:1]

    assert event["muted"] == {"mass_read": T0 + 500_000, "mfa_fatigue": T0 + 100_000}


def test_of_too_many_suppressions_some_expire_and_are_announced() -> None:
    player = Player(principal_context())
    sent = player.each(*(muted(10, f"n-{at}", 1_000 + at) for at in range(MAX_SUPPRESSIONS + 2)))

    assert [event["suppression_id"] for event in of(sent, topics.SUPPRESSIONS)] == ["n-0", "n-1"]


def test_a_suppression_outlives_a_restart_and_expires_there() -> None:
    player = Player(principal_context())
    player.each(activity(0), muted(10, "a", 100))

    other = Player(principal_context())
    other.stage.restore(player.rows.items())
    other.stage.on_restored()
    sent = other.play(activity(200, principal_id="ben", session_id="s-9"))

    assert states(sent) == [("expired", ["mass_read"])]
    assert [decode_row(*row, from_json)["suppressions"] for row in other.rows.items()] == [{}, {}]
