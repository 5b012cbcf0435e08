"""Ids of messages: within their length, unique, reproducible, and traceable to the producer's event."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from pipeline.processing.messages import derived_id, source_event_id, stable_id
from pipeline.processing.processor import Message
from schemas import topics
from tests.support.all_outputs import WIDE, received

__all__ = ["received"]  # a fixture


def test_an_id_that_follows_from_an_event_fits_and_follows_again() -> None:
    for event_id in ("e", "e" * 126, "e" * 127, WIDE * 128):
        ids = [derived_id(event_id, suffix) for suffix in ("~a", "~b", "~12345678")]
        assert len(set(ids)) == 3
        assert max(map(len, ids)) <= 128
        assert ids == [derived_id(event_id, suffix) for suffix in ("~a", "~b", "~12345678")]


def test_messages_on_one_key_have_ids_of_their_own(received: list[Message]) -> None:
    for topic in (topics.SESSION_CONTEXT, topics.PRINCIPAL_ACTIVITY, topics.SESSION_BINDINGS):
        ids = Counter(
            (
                m.key,
                json.loads(m.value)["tenant"],
                json.loads(m.value)["event_id"],
                json.loads(m.value).get("kind"),
            )
            for m in received
            if m.topic == topic
        )
        assert [row for row, count in ids.items() if count > 1] == [], topic


def test_stable_ids_are_stable() -> None:
    assert stable_id("a", 1) == "b4feb303ba68581ff5140f67114e15e6"
    assert stable_id("a", 1) == stable_id("a", "1") != stable_id("a1")


@pytest.mark.parametrize(
    ("derived", "producers"),
    [
        ("e-1", "e-1"),
        ("e-1~a~p", "e-1"),
        (f"sha256:{'0f' * 32}~a~p", f"sha256:{'0f' * 32}"),
        ("e-1~b~d", "e-1"),
        ("e-1~d~0123456789ab~l", "e-1"),
        ("sweep:1772409600000", "sweep:1772409600000"),
        ("~a", "~a"),
    ],
)
def test_evidence_names_the_producers_event_not_what_was_derived_from_it(derived: str, producers: str) -> None:
    assert source_event_id(derived) == producers
