"""What is unreadable or hostile harms none of the sessions beside it."""

from __future__ import annotations

from schemas import topics
from schemas.decode import encode
from tests.support.run_processors import NOW, Rec, of, record
from tests.support.samples import auth, call
from tests.support.session_processor import desk, others


def test_what_cannot_be_read_is_a_dead_letter_and_harms_nobody_else() -> None:
    good = [record(call(at), at) for at in range(4)]
    bad = [
        Rec(topics.API_CALLS, 0, 10, 0, b"s-1", b"{"),
        Rec(topics.API_CALLS, 0, 11, 0, b"s-1", None),
        Rec(topics.API_CALLS, 0, 12, 0, b"other", encode(call(1))),
        Rec(topics.API_CALLS, 0, 13, 0, None, b"\xff\xfe"),
        Rec(topics.API_CALLS, 0, 14, 0, b"s-1", encode({**call(1), "principal_kind": "robot"})),
        Rec(topics.API_CALLS, 0, 15, 0, b"s-1", encode({**call(1), "occurred_at": NOW + 400_000})),
    ]
    this_desk, alone = desk(), desk()

    mixed = sorted([*good, *bad], key=lambda rec: rec.offset % 10)
    outputs = this_desk.take(topics.API_CALLS, mixed)
    alone.take(topics.API_CALLS, good)

    assert [Rec(*bad[at][:3], 0, None, None).offset for at in range(6)] == sorted(
        letter["offset"] for letter in of(outputs, topics.DEAD_LETTERS)
    )
    assert sum(this_desk.dead.values()) == 6
    assert this_desk.rows == alone.rows


def test_hostile_names_neither_meet_nor_stop_anybody() -> None:
    this_desk = desk()
    names = ["a", "a\0b", "a\0", "\0", "\x1f", "\u00ff", "ÿ", "\U0010ffff" * 128]
    for at, name in enumerate(names):
        this_desk.play(auth(at, session_id=name, principal_id=name, tenant=name[:64]))
        this_desk.play(auth(at, session_id=name, principal_id=name, tenant="a"))
    held = len(this_desk.scorer.table)
    this_desk.each(*others(10, 300))

    assert held == 2 * len(set(names)) - 1
    assert len(this_desk.scorer.table) == 1
    assert len(this_desk.rows) == 1
