"""What an answer to a push means, row by row, and how long until another try."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis.strategies import binary, floats, integers, text

from pipeline.transmitter.answers import CODES, FAILURES, LONGEST_TEXT, of_failure, of_status
from pipeline.transmitter.backoff import LONGEST_RETRY_AFTER_S, pause_ms, retry_after_ms
from pipeline.transmitter.records import Queued
from pipeline.transmitter.results import Result, decide
from pipeline.transmitter.settings import TransmitterSettings
from stores import NOW

VERDICTS = {
    "invalid_request": "bury",
    "invalid_key": "once",
    "invalid_issuer": "bury",
    "invalid_audience": "bury",
    "authentication_failed": "retry",
    "access_denied": "retry",
    "invalid_state": "bury",
}


def test_every_code_of_rfc_8935_and_ssf_has_its_row() -> None:
    assert {code: verdict for code, (verdict, _) in CODES.items()} == VERDICTS


@pytest.mark.parametrize(("code", "verdict"), VERDICTS.items())
def test_a_code_means_what_its_row_says(code: str, verdict: str) -> None:
    answer = of_status(400, json.dumps({"err": code, "description": "so"}).encode())

    assert (answer.verdict, answer.error) == (verdict, code)
    assert answer.text.endswith(": so")


@pytest.mark.parametrize(
    ("status", "verdict", "error"),
    [
        (200, "delivered", ""),
        (202, "delivered", ""),
        (204, "delivered", ""),
        (301, "retry", "redirect"),
        (308, "retry", "redirect"),
        (401, "retry", "http_401"),
        (403, "retry", "http_403"),
        (404, "retry", "http_404"),
        (405, "bury", "http_405"),
        (408, "retry", "http_408"),
        (410, "bury", "http_410"),
        (413, "bury", "http_413"),
        (415, "bury", "http_415"),
        (429, "retry", "http_429"),
        (500, "retry", "http_500"),
        (503, "retry", "http_503"),
        (599, "retry", "http_599"),
    ],
)
def test_a_status_means_what_its_row_says(status: int, verdict: str, error: str) -> None:
    answer = of_status(status, b"")

    assert (answer.verdict, answer.error) == (verdict, error)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"err": 7}', b"\xff", b"[" * 10_000, b'{"err": null}']
)
def test_a_400_without_a_code_is_tried_again(body: bytes) -> None:
    assert (of_status(400, body).verdict, of_status(400, body).error) == ("retry", "http_400")


def test_a_code_that_nobody_defined_is_tried_again_and_told() -> None:
    answer = of_status(400, b'{"err": "tea_pot", "description": "short and stout"}')

    assert (answer.verdict, answer.error) == ("retry", "unknown_code")
    assert answer.text == "error code 'tea_pot': short and stout"


def test_a_receivers_words_are_kept_short_and_plain() -> None:
    said = json.dumps({"err": "access_denied", "description": "a\x1b[2J\u202e\ud800\x00b" + "c" * 9999})

    text = of_status(400, said.encode()).text

    assert len(text) == LONGEST_TEXT
    assert text.isprintable()


@pytest.mark.parametrize("error", FAILURES)
def test_where_no_answer_came_it_is_tried_again(error: str) -> None:
    assert (of_failure(error, "why").verdict, of_failure(error).text) == ("retry", FAILURES[error])


@given(binary())
def test_no_answer_is_too_odd_to_mean_something(body: bytes) -> None:
    assert of_status(400, body).verdict in {"retry", "once", "bury"}


@given(integers(1, 200), integers(0))
def test_a_pause_is_anything_up_to_twice_as_much_each_time_and_no_more_than_the_cap(
    attempt: int, seed: int
) -> None:
    assert 0 <= pause_ms(attempt, 1.0, 300.0, _rng(seed)) <= 1000 * min(300.0, 2.0 ** min(attempt - 1, 60))


def test_pauses_use_all_of_their_room() -> None:
    rng = _rng(7)

    drawn = sorted(pause_ms(4, 1.0, 300.0, rng) for _ in range(1000))

    assert drawn[0] < 200
    assert drawn[-1] > 7800
    assert 3500 < sum(drawn) / 1000 < 4500


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("0", 0),
        (" 7 ", 7000),
        ("86400", 3_600_000),
        ("9" * 400, 3_600_000),
        ("Tue, 24 Nov 2026 06:29:50 GMT", 30_000),
        ("Tue, 24 Nov 2026 06:29:50 -0000", 30_000),
        ("Tue, 24 Nov 2026 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600_000),
        ("Wed, 21 Oct 2015 07:28:00 +9999999999999", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_and_bounded(value: str | None, ms: int | None) -> None:
    assert retry_after_ms(value, NOW) == ms


@given(text())
def test_no_retry_after_is_too_odd_to_be_read(value: str) -> None:
    asked = retry_after_ms(value, NOW)

    assert asked is None or 0 <= asked <= LONGEST_RETRY_AFTER_S * 1000


def _rng(seed: float) -> Random:
    return Random(seed)  # noqa: S311 - jitter is no secret


SETTINGS = TransmitterSettings(push_attempts=3, push_backoff_s=1, push_backoff_max_s=300)


def _token(attempts: int) -> Queued:
    return Queued(1, "s-1", "j-1", "a", "session-revoked", "h.p.s", attempts, NOW, NOW)


@pytest.mark.parametrize(
    ("attempts", "status", "code", "last", "state"),
    [
        (0, 202, "", False, "delivered"),
        (2, 202, "", False, "delivered"),
        (0, 500, "", False, "again"),
        (1, 500, "", False, "again"),
        (2, 500, "", False, "dead"),
        (0, 400, "invalid_request", False, "dead"),
        (0, 400, "invalid_key", False, "again"),
        (1, 400, "invalid_key", True, "dead"),
        (1, 400, "invalid_key", False, "again"),
        (2, 400, "invalid_key", False, "dead"),
        (1, 500, "", True, "again"),
        (1, 400, "access_denied", False, "again"),
    ],
)
def test_what_becomes_of_a_token_follows_from_the_answer_and_its_tries(
    attempts: int, status: int, code: str, last: bool, state: str
) -> None:
    answer = of_status(status, json.dumps({"err": code}).encode())

    result = decide(_token(attempts), answer, SETTINGS, NOW, _rng(1), last=last)

    assert (result.state, result.error) == (state, answer.error)


def test_a_key_that_was_refused_gets_its_second_try_when_caches_have_ended() -> None:
    answer = of_status(400, b'{"err": "invalid_key"}')

    result = decide(_token(0), answer, SETTINGS, NOW, _rng(1), last=False)

    assert result == Result(_token(0), "again", "invalid_key", answer.text, NOW + 300_000)


@given(floats(0, 1), integers(0, 10_000))
def test_a_receiver_that_says_when_is_not_asked_before(seed: float, asked: int) -> None:
    answer = of_status(503, b"", asked)

    assert decide(_token(0), answer, SETTINGS, NOW, _rng(seed), last=False).due_at >= NOW + asked
