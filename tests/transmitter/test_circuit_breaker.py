"""Whether a receiver is there, by what came of pushes: what counts against a token, who waits, how long."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.circuit_breaker import CircuitBreaker
from pipeline.transmitter.delivery.outcomes import PushResult
from pipeline.transmitter.protocol import QueuedToken
from pipeline.transmitter.push_responses import DELIVERED, FAILURES, STATUSES, PushResponse, of_failure, of_status
from tests.support.stores import NOW

SETTINGS = TransmitterSettings(push_at_once=8, push_backoff_s=1, push_backoff_max_s=300)
GONE = of_failure("unreachable")
AWAY = [
    *(of_failure(name) for name, row in FAILURES.items() if row.counts == "unless_down"),
    *(of_status(status, b"") for status, row in STATUSES.items() if row.counts == "unless_down"),
    of_status(302, b""),
]


class Longest(Random):
    """Draws the longest pause."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def circuit() -> CircuitBreaker:
    return CircuitBreaker(SETTINGS, Longest())


def waiting(seq: int = 1, error: str | None = None, due_at: int = NOW) -> QueuedToken:
    """A token, tried before if it has an *error*."""
    jti, lane = f"j-{seq}", f"lane-{seq}"
    return QueuedToken(seq, "s-1", jti, lane, "session-revoked", "h.p.s", 0, due_at, NOW, None, error)


def failing(
    one: CircuitBreaker, times: int, begun_ms: int = NOW, answer: PushResponse = GONE
) -> list[PushResult | None]:
    """What comes of so many pushes that fail one after another, each as soon as it may begin."""
    results = []
    for number in range(times):
        begun_ms = max(begun_ms + 1, one.paused_until)
        results.append(one.record(waiting(number), answer, begun_ms, begun_ms))
    return results


def test_one_failure_is_no_receiver_that_is_down_and_two_are() -> None:
    this_circuit = circuit()

    seen = []
    for at in (NOW, NOW + 1):
        this_circuit.record(waiting(), GONE, at, at)
        seen.append((this_circuit.down_since, this_circuit.available_slots(at + 1, 3)))

    assert seen == [(None, 5), (NOW, 0)]


def test_what_failed_together_is_one_round_and_does_not_double_the_pause() -> None:
    this_circuit = circuit()

    for seq in range(8):
        this_circuit.record(waiting(seq), of_failure("timeout"), NOW, NOW + 10_000 + seq)

    assert (this_circuit.down_since, this_circuit.paused_until) == (NOW + 10_000, NOW + 11_000)


def test_pauses_double_up_to_the_cap_while_it_is_down() -> None:
    this_circuit, begins = circuit(), [NOW]

    for _ in range(12):
        this_circuit.record(waiting(), GONE, begins[-1], begins[-1])
        begins.append(max(this_circuit.paused_until, begins[-1] + 1))

    seconds = [round((later - sooner) / 1000) for sooner, later in pairwise(begins)]
    assert seconds == [0, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30]


def test_while_it_is_down_one_at_a_time_is_tried_and_nothing_before_the_pause_is_over() -> None:
    this_circuit = circuit()
    failing(this_circuit, 4)

    at = this_circuit.paused_until
    assert [
        this_circuit.available_slots(at - 1, 0),
        this_circuit.available_slots(at, 0),
        this_circuit.available_slots(at, 1),
        this_circuit.available_slots(at, 5),
    ] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "answer",
    [DELIVERED, of_status(500, b""), of_status(400, b'{"err": "invalid_request"}'), of_status(413, b"")],
)
def test_when_it_answers_anything_about_a_token_all_go_on(answer: PushResponse) -> None:
    this_circuit = circuit()
    failing(this_circuit, 5)
    at = this_circuit.paused_until

    assert this_circuit.record(waiting(), answer, at, at + 5) is None
    assert (this_circuit.down_since, this_circuit.available_slots(at + 5, 2)) == (None, 6)


@pytest.mark.parametrize("answer", AWAY, ids=lambda answer: answer.error)
def test_a_receiver_that_is_away_makes_no_tries_of_a_token_however_often(answer: PushResponse) -> None:
    this_circuit = circuit()

    results = failing(this_circuit, 20, answer=answer)

    assert [found and (found.state, found.counted) for found in results] == [("retry", False)] * 20


def test_what_failed_is_tried_again_when_the_receiver_is() -> None:
    this_circuit = circuit()

    results = failing(this_circuit, 6)

    assert results[-1] == PushResult(
        waiting(5), "retry", "unreachable", "no connection", this_circuit.paused_until, counted=False
    )


@pytest.mark.parametrize("answer", AWAY, ids=lambda answer: answer.error)
def test_a_token_that_fails_while_another_is_answered_fails_by_itself(answer: PushResponse) -> None:
    this_circuit = circuit()

    this_circuit.record(waiting(1), DELIVERED, NOW, NOW + 50)

    assert this_circuit.record(waiting(2), answer, NOW, NOW + 60) is None
    assert this_circuit.down_since is None


def test_one_answer_before_it_was_pushed_says_nothing_of_a_new_token() -> None:
    this_circuit = circuit()

    this_circuit.record(waiting(1), DELIVERED, NOW, NOW + 50)

    assert this_circuit.record(waiting(2), GONE, NOW + 50, NOW + 60) is not None


def test_a_token_that_failed_when_nobody_was_answered_fails_by_itself_once_others_are() -> None:
    this_circuit = circuit()
    (first, _) = (this_circuit.record(waiting(seq), GONE, NOW, NOW) for seq in (1, 2))
    assert first is not None
    again = waiting(1, "unreachable", first.due_at)

    this_circuit.record(waiting(3), DELIVERED, first.due_at, first.due_at + 5)

    assert this_circuit.record(again, GONE, first.due_at + 5, first.due_at + 5) is None


def test_429_says_nothing_of_a_token_even_while_others_are_taken() -> None:
    this_circuit = circuit()
    this_circuit.record(waiting(1), DELIVERED, NOW, NOW + 50)

    result = this_circuit.record(waiting(2), of_status(429, b""), NOW, NOW + 60)

    assert result is not None
    assert (result.state, result.error, result.counted) == ("retry", "http_429", False)


@pytest.mark.parametrize("status", [429, 503])
def test_a_rest_that_was_asked_for_stands_whatever_is_answered_meanwhile(status: int) -> None:
    this_circuit = circuit()

    this_circuit.record(waiting(1), of_status(status, b"", 3_600_000), NOW, NOW + 5)
    this_circuit.record(waiting(2), DELIVERED, NOW, NOW + 10)

    until = NOW + 5 + 3_600_000
    assert (
        this_circuit.paused_until,
        this_circuit.available_slots(until - 1, 0),
        this_circuit.available_slots(until, 0),
    ) == (
        until,
        0,
        8,
    )


def test_a_retry_after_of_another_answer_is_of_its_token_alone() -> None:
    this_circuit = circuit()

    result = this_circuit.record(waiting(1), of_status(502, b"", 60_000), NOW, NOW)

    assert result is not None
    assert (result.due_at, this_circuit.paused_until, this_circuit.available_slots(NOW, 0)) == (NOW + 60_000, 0, 8)


ANSWERS = st.sampled_from([DELIVERED, GONE, of_status(429, b"", 500), of_status(500, b""), of_status(503, b"")])


@given(st.lists(st.tuples(ANSWERS, st.integers(0, 2000)), max_size=40))
def test_whatever_is_answered_the_receiver_is_asked_again_in_bounded_time(
    output: list[tuple[PushResponse, int]],
) -> None:
    this_circuit, now = circuit(), NOW
    for number, (answer, later) in enumerate(output):
        begun, now = now, now + later
        this_circuit.record(waiting(number), answer, begun, now)

    assert this_circuit.available_slots(now + 30_000, 0) >= 1
    assert (this_circuit.down_since is None) == (this_circuit.available_slots(now + 30_000, 0) == 8)
