"""Dead letters that come back with their command, that would die again, and how many can come back at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from pipeline.transmitter.push_responses import CODES, FAILURES, FINAL_ERRORS, STATUSES
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.queue import dead_letters
from pipeline.transmitter.store.tables import sets
from pipeline.transmitter.tokens.builder import DecodedRecord
from tests.support.stores import NOW, SEALER, new_store, stream, token
from tests.support.transmitter_records import T0, revocation, token_builder

ERRORS = [*CODES, *(f"http_{status}" for status in STATUSES), *FAILURES, "redirect", "http_500", "hold_limit"]


def _stored(store: Store) -> dict[str, tuple[str, int, str | None, bool]]:
    """State, tries, error, and whether its text is there, of each token by stream and `jti`."""
    with store.read() as conn:
        return {
            f"{row.stream_id} {row.jti}": (row.state, row.attempts, row.error, row.jwt is not None)
            for row in conn.execute(select(sets).order_by(sets.c.seq))
        }


def _dead(store: Store, jti: str, stream_id: str = "s-1", error: str = "timeout", revocation_id: str = "r-1") -> None:
    with store.begin() as conn:
        queue.put(conn, [token(jti, stream_id, revocation_id=revocation_id)], NOW)
        (head,) = queue.heads(conn, stream_id, NOW, 1)
        queue.dead_letter(conn, head.seq, error, "so", NOW)


def _sent_again(store: Store, ids: Sequence[str], now_ms: int = NOW + 9) -> set[str]:
    with store.begin() as conn:
        return dead_letters.requeue_resent(conn, ids, now_ms)


def test_of_a_command_that_is_sent_again_each_stream_gets_its_token_that_died_anew(store: Store) -> None:
    statuses = {"enabled": "enabled", "paused": "paused", "disabled": "disabled", "other": "enabled"}
    with store.begin() as conn:
        for name, status in statuses.items():
            streams.add(conn, SEALER, stream(name, status=status))
    for name in (*statuses, "gone"):
        _dead(store, f"j-{name}", name, revocation_id="r-2" if name == "other" else "r-1")
    with store.begin() as conn:
        queue.put(conn, [token("j-had", "enabled", revocation_id="r-1")], NOW)
        queue.mark_delivered(conn, [head.seq for head in queue.heads(conn, "enabled", NOW, 1)], NOW)

    assert _sent_again(store, ["r-1", "r-9"]) == {"enabled", "paused"}

    assert _stored(store) == {
        "enabled j-enabled": ("queued", 0, None, True),
        "paused j-paused": ("queued", 0, None, True),
        "disabled j-disabled": ("dead", 1, "timeout", True),
        "other j-other": ("dead", 1, "timeout", True),
        "gone j-gone": ("dead", 1, "timeout", True),
        "enabled j-had": ("delivered", 0, None, False),
    }


@pytest.mark.parametrize("error", ERRORS)
def test_what_would_die_again_stays_dead(tmp_path: Path, error: str) -> None:
    store = new_store(tmp_path)
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
    _dead(store, "j-1", error=error)

    assert _sent_again(store, ["r-1"]) == (set() if error in FINAL_ERRORS else {"s-1"})


def test_one_that_comes_back_has_all_its_time_again_and_its_second_chance(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
    _dead(store, "j-1", error="invalid_key")
    _sent_again(store, ["r-1"], NOW + 9)

    with store.read() as conn:
        (head,) = queue.heads(conn, "s-1", NOW + 9, 1)
    assert (head.created_at, head.due_at, head.attempts, head.error) == (NOW + 9, NOW + 9, 0, None)


def test_a_command_that_is_heard_again_rings_the_streams_whose_token_died_and_makes_no_new_one(
    store: Store,
) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
    made = token_builder(store)

    def details(command: DecodedRecord) -> tuple[set[str], dict[str, int], dict[str, int]]:
        taken = made.build([command], T0)
        return taken.stream_ids, dict(taken.commands), dict(taken.queued)

    first = details(revocation())
    with store.begin() as conn:
        for head in queue.heads(conn, "s-1", T0, 1):
            queue.dead_letter(conn, head.seq, "timeout", "no response in time", T0)
    read_again, sent_again = details(revocation()), details(revocation(deadline=T0 + 120_000))

    assert first == ({"s-1"}, {"opened": 1}, {"session-revoked": 1})
    assert read_again == (set(), {"seen": 1}, {})
    assert sent_again == ({"s-1"}, {"resent": 1}, {})
    ((state, attempts, error, _),) = _stored(store).values()
    assert (state, attempts, error) == ("queued", 0, None)


def test_of_what_was_given_up_for_its_number_the_newest_can_still_be_sent(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
    _dead(store, "refused", error="invalid_key")
    with store.begin() as conn:
        for at in range(3):
            queue.put(conn, [token(f"{at}.{number}", "s-1") for number in range(4)], NOW + at)
            gone = queue.drop_oldest(conn, "s-1", 0, 0, NOW + at)
            assert gone == 4
            dead_letters.keep_newest(conn, "s-1", 6, gone)

    kept = {jti.removeprefix("s-1 ") for jti, (_, _, _, text) in _stored(store).items() if text}
    assert kept == {"refused", "1.2", "1.3", "2.0", "2.1", "2.2", "2.3"}


def test_what_was_given_up_says_what_came_of_its_last_try(store: Store) -> None:
    with store.begin() as conn:
        queue.put(conn, [token("tried"), token("never", lane="b")], NOW)
        (head, _) = queue.heads(conn, "s-1", NOW, 2)
        queue.retry_later(conn, head.seq, NOW + 5, "unreachable", "no connection", counted=False)
        queue.drop_oldest(conn, "s-1", 0, 0, NOW + 9)
        by_key = {
            dead_letter.jti: (dead_letter.attempts, dead_letter.error, dead_letter.error_text)
            for dead_letter in queue.list_dead_letters(conn)
        }

    text = "the stream held it too long, or held too many"
    assert by_key == {
        "tried": (0, "hold_limit", f"{text}; its last attempt: unreachable"),
        "never": (0, "hold_limit", text),
    }
