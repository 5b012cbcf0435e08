"""Encoder and dead letters: what is written and what is left out."""

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decisions import DeadLetter
from schemas.decode import decode_chunk, encode
from schemas.events import ApiCall
from schemas.export import EXAMPLES
from schemas.refusal import dead_letter

NOW = 1_795_501_800_000
EXAMPLE = EXAMPLES / "api-calls" / "valid" / "full.json"


# --- dead letters -------------------------------------------------------------------------------------------


def test_a_dead_letter_keeps_the_original_bytes_where_from_and_why() -> None:
    letter = dead_letter("api-calls", 3, 1024, b"s-1", b'{"a":\xff', "not valid JSON", NOW)

    assert letter == DeadLetter(
        topic="api-calls",
        partition=3,
        offset=1024,
        key="cy0x",
        value="eyJhIjr/",
        size=6,
        reason="not valid JSON",
        at=NOW,
    )


def test_a_dead_letter_for_nothing_holds_nothing() -> None:
    letter = dead_letter("api-calls", 0, 0, None, None, "empty value", NOW)

    assert (letter.key, letter.value, letter.size) == (None, None, 0)
    assert b'"value"' not in encode(letter)


def test_a_dead_letter_of_a_huge_record_still_fits_a_kafka_message() -> None:
    value = bytes(range(256)) * 12_000

    letter = dead_letter("api-calls", 0, 0, b"k" * 100_000, value, "value of 3072000 bytes", NOW)

    assert len(encode(letter)) < 1_000_000
    assert letter.size == 3_072_000
    assert value.startswith(b64decode(letter.value or ""))


def test_the_reason_of_a_dead_letter_is_one_line_that_is_not_too_long() -> None:
    letter = dead_letter("api-calls", 0, 0, None, b"x", "two\nlines\x1b[31m " + "x" * 600, NOW)

    assert letter.reason.startswith("two lines [31m xxx")
    assert letter.reason.endswith("…")
    assert len(letter.reason) == 512


def test_a_dead_letter_can_be_read_from_its_topic() -> None:
    letter = dead_letter("api-calls", 3, 1024, b"s-1", b"{", "not valid JSON", NOW)

    decoded = decode_chunk("dead-letters", [encode(letter)], [b"s-1"], now_ms=NOW)

    assert decoded.events == [letter.model_dump()]


# --- encode -------------------------------------------------------------------------------------------------


def test_a_message_is_written_compactly_in_its_own_order_without_what_is_unknown() -> None:
    message = {"b": 1, "a": None, "c": [{"x": None, "y": "é"}, None], "d": "null"}

    assert encode(message) == '{"b":1,"c":[{"y":"é"},null],"d":"null"}'.encode()


def test_a_model_and_its_fields_are_written_the_same() -> None:
    call = ApiCall.model_validate_json(EXAMPLE.read_bytes())

    assert encode(call) == encode(call.model_dump()) == encode({**call.model_dump(), "unknown": None})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_values_that_no_reader_must_accept_are_not_written(value: float | str) -> None:
    with pytest.raises(ValueError, match=r"JSON|surrogates"):
        encode({"x": value})


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9) | st.booleans(), max_size=6))
def test_a_message_reads_back_as_it_was_written(message: dict[str, Any]) -> None:
    try:
        assert json.loads(encode(message)) == message
    except UnicodeEncodeError:
        assert any(0xD800 <= ord(character) <= 0xDFFF for character in str(message))
