"""What is held and how long, as the README's table has it: each row is shown by what happens to a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from pipeline.transmitter.protocol import POLL
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.queue import dead_letters
from pipeline.transmitter.store.tables import sets
from pipeline.transmitter.tokens.stream_events import Announcer
from tests.support.housekeeping import HOUR, House, new_house, put_numbered
from tests.support.stores import NOW, SEALER
from tests.support.transmitter_api import new_api

PAGE = Path(__file__).parent.parent.parent / "pipeline" / "transmitter" / "README.md"
EVENT, WORD = "session-revoked", "stream-updated"
FULL = {"status": "enabled", "reason": "keeps its newest 100 tokens; older ones are dropped"}
POLLED: dict[str, Any] = {"method": POLL, "endpoint_url": None}


def _ask(house: House) -> list[str]:
    """A poll, which acknowledges nothing; what it gives."""
    with house.store.begin() as conn:
        given, _ = queue.hand_out(conn, "s-1", house.now, 100, 60_000)
    return [queued.jti for queued in given]


def _take(house: House, *jtis: str) -> None:
    with house.store.begin() as conn:
        assert queue.acknowledge(conn, "s-1", jtis, house.now) == len(jtis)


def _describe(house: House, text: str) -> None:
    """A change of the stream that is none of its status."""
    with house.store.begin() as conn:
        stream = streams.get(conn, SEALER, "s-1")
        assert stream is not None
        assert streams.change(conn, SEALER, replace(stream, description=text))


def enabled_and_taken(house: House) -> None:
    """It goes on, loses what is beyond ten times as many, and is told so once, until that is a day ago."""
    put_numbered(house, 120)
    _take(house, "s-1.a.0")

    assert house.look(1000) == (
        "enabled",
        {(EVENT, "delivered"): 1, (EVENT, "dead"): 20, (EVENT, "queued"): 99, (WORD, "queued"): 1},
    )
    put_numbered(house, 5, first=120)
    assert house.look(1000) == (
        "enabled",
        {(EVENT, "delivered"): 1, (EVENT, "dead"): 25, (EVENT, "queued"): 99, (WORD, "queued"): 1},
    )
    assert house.words() == [FULL]
    house.now += 25 * HOUR
    put_numbered(house, 120, first=125)
    _take(house, "s-1.a.244")
    assert house.look(1000) == (
        "enabled",
        {
            (EVENT, "delivered"): 2,
            (EVENT, "dead"): 144,
            (EVENT, "queued"): 99,
            (WORD, "dead"): 1,
            (WORD, "queued"): 1,
        },
    )


def enabled_and_not_taken(house: House) -> None:
    """It is polled every minute, and changed in between, but nothing is acknowledged."""
    put_numbered(house, 12)
    for minute in range(9):
        house.now += 60_000
        _ask(house)
        _describe(house, f"minute {minute}")
        assert house.look()[0] == "enabled"

    assert house.look(61_000) == ("enabled", {(EVENT, "queued"): 12, (WORD, "queued"): 1})
    assert house.look(61_000)[0] == "paused"
    assert [word["status"] for word in house.words()] == ["paused"]


def paused_with_too_many(house: House) -> None:
    put_numbered(house, 15)

    assert house.look(1000) == ("paused", {(EVENT, "dead"): 6, (EVENT, "queued"): 9, (WORD, "queued"): 1})
    assert house.words() == [{"status": "paused", "reason": "keeps its newest 10 tokens; older ones are dropped"}]


def paused_for_too_long(house: House) -> None:
    """To be changed or polled does not make it stay."""
    house.now += 20 * HOUR
    put_numbered(house, 1)
    _describe(house, "still here")

    house.look(4 * HOUR + 1000)
    assert house.look(61_000) == ("disabled", {(EVENT, "dead"): 1, (WORD, "dead"): 1})


def disabled(house: House) -> None:
    """The word that it is disabled waits for a minute, and then no more."""
    with house.store.begin() as conn:
        stream = streams.get(conn, SEALER, "s-1")
        assert stream is not None
        Announcer("https://tx.example.org", house.signer).announce(conn, stream, "disabled", None, house.now)

    assert house.look(60_000) == ("disabled", {(WORD, "queued"): 1})
    assert house.look(1) == ("disabled", {(WORD, "dead"): 1})


def declared(house: House) -> None:
    """Not taken from it holds as much as others; taken from, ten times as much. It gets no token."""
    put_numbered(house, 130)
    assert house.look(HOUR) == ("enabled", {(EVENT, "dead"): 120, (EVENT, "queued"): 10})

    put_numbered(house, 120, first=130)
    with house.store.begin() as conn:
        (head,) = queue.heads(conn, "s-1", house.now, 1)
        queue.mark_delivered(conn, [head.seq], house.now)
    assert house.look(1000) == (
        "enabled",
        {(EVENT, "dead"): 149, (EVENT, "delivered"): 1, (EVENT, "queued"): 100},
    )


ROWS: dict[str, tuple[str, dict[str, Any], Callable[[House], None]]] = {
    "enabled, and its receiver takes something now and then": (
        (
            "what is too old is given up; of more than ten times as many, the oldest are; "
            "the receiver gets `stream-updated`"
        ),
        POLLED,
        enabled_and_taken,
    ),
    "enabled, and nobody has taken anything for ten minutes": ("paused", POLLED, enabled_and_not_taken),
    "paused, holding too many": (
        "the oldest are given up; the receiver gets `stream-updated`",
        {"status": "paused"},
        paused_with_too_many,
    ),
    "paused for too long": (
        "disabled, if it holds something",
        {"status": "paused"},
        paused_for_too_long,
    ),
    "disabled": (
        "holds nothing but, for a minute, the `stream-updated` that says so",
        {"status": "disabled"},
        disabled,
    ),
    "declared in the operator's file": (
        "stays as it is: the oldest are given up",
        {"declared": True},
        declared,
    ),
}


def _table() -> Iterator[tuple[str, str]]:
    """Both columns of the README's table."""
    text = PAGE.read_text("utf-8").split("## What is held, and how long")[1]
    for line in text.split("| stream | beyond the bounds |\n|---|---|\n")[1].split("\n\n")[0].splitlines():
        stream, what = line.strip("|").split("|")
        yield stream.strip(), what.strip()


def test_the_table_of_the_readme_has_these_rows() -> None:
    assert list(_table()) == [(stream, what) for stream, (what, _, _) in ROWS.items()]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_what_happens(tmp_path: Path, row: str) -> None:
    _, members, happens = ROWS[row]

    happens(new_house(tmp_path, **members))


@pytest.mark.parametrize("does", ["polls", "says enabled", "changes it"])
def test_whatever_a_receiver_does_its_stream_holds_ten_times_as_many_at_most(tmp_path: Path, does: str) -> None:
    """Neither waiting nor as dead letters that could be sent: of those, the newest ten keep their token."""
    house = new_house(tmp_path, **POLLED)

    for turn in range(30):
        put_numbered(house, 20, first=20 * turn)
        house.now += 30_000
        if does == "polls":
            _ask(house)
        elif does == "says enabled":
            with house.store.begin() as conn:
                streams.set_status(conn, "s-1", "enabled", None, house.now)
        else:
            _describe(house, f"turn {turn}")
        house.look()
        with house.store.read() as conn:
            texts = select(sets.c.state, func.count()).where(sets.c.jwt.is_not(None)).group_by(sets.c.state)
            kept = {row[0]: row[1] for row in conn.execute(texts)}
        assert kept.get("queued", 0) <= 100
        assert kept.get("dead", 0) <= 10

    with house.store.read() as conn:
        dead_letters_read = dead_letters.list_dead_letters(conn, "s-1")
    assert {dead_letter.error for dead_letter in dead_letters_read} == {"hold_limit"}
    assert sum(dead_letter.retriable for dead_letter in dead_letters_read) == 10


def test_a_change_by_its_receiver_leaves_the_time_of_the_status(tmp_path: Path) -> None:
    api = new_api(tmp_path)
    token = api.token()
    stream_id = api.stream(token)["stream_id"]

    api.now += 60_000
    for method in ("PATCH", "PUT"):
        fields = {"stream_id": stream_id, "description": method}
        assert api.ask(method, "/ssf/stream", fields, token=token).status == 200
        with api.services.store.read() as conn:
            found = streams.get(conn, SEALER, stream_id)
        assert found is not None
        assert (found.description, found.created_at, found.updated_at) == (method, NOW, NOW)
