"""Decoder: nothing raises, and a rejected record has a readable reason."""

import json
from typing import Any

import pytest

from schemas.decode import ChunkDecoder, decode_chunk, decoder
from schemas.decoded import Decoded, Limits, Rejected
from schemas.events import ApiCall
from schemas.export import EXAMPLES
from schemas.fields import YEAR_2000_MS
from tests.support.raw_calls import LIMITS, NOW, plain, raw


def decode(*values: bytes | None, limits: Limits = LIMITS) -> Decoded[Any]:
    """Decode API calls that all have the key `s-1`."""
    return decode_chunk("api-calls", values, [b"s-1"] * len(values), now_ms=NOW, limits=limits)


def reasons(*values: bytes | None, limits: Limits = LIMITS) -> list[str]:
    return [rejected.reason for rejected in decode(*values, limits=limits).rejected]


# --- a chunk ----------------------------------------------------------------------------------------------


def test_a_chunk_of_good_records_comes_out_whole_and_in_order() -> None:
    decoded = decode(raw(event_id="a"), raw(event_id="b", tenant="acme"))

    assert decoded == Decoded([plain(event_id="a"), plain(event_id="b", tenant="acme")], [0, 1], [])


def test_an_empty_chunk_can_be_decoded() -> None:
    assert decode() == Decoded([], [], [])


def test_bad_neighbours_do_not_touch_the_good() -> None:
    decoded = decode(None, raw(event_id="a"), b"{", raw(event_id="b"), raw(type="x"), b"\xff", raw(event_id="c"))

    assert decoded.events == [plain(event_id=name) for name in "abc"]
    assert decoded.places == [1, 3, 6]
    assert [rejected.index for rejected in decoded.rejected] == [0, 2, 4, 5]


# --- one record -------------------------------------------------------------------------------------------

HOSTILE = {
    "no value": (None, "empty value"),
    "no bytes": (b"", "empty value"),
    "only blanks": (b" \n", "not valid JSON: EOF while parsing a value at line 2 column 0"),
    "zero byte": (b"\0", "not valid JSON: expected value at line 1 column 1"),
    "a number": (b"1", "record: must be an object, got 1"),
    "null": (b"null", "record: must be an object, got null"),
    "an array": (b"[" + raw() + b"]", "record: must be an object, got an array of 1 item"),
    "byte order mark": (b"\xef\xbb\xbf" + raw(), "not valid JSON: expected value at line 1 column 1"),
    "deep": (
        raw()[:-1] + b',"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "not valid JSON: recursion limit exceeded",
    ),
    "NaN": (raw()[:-1] + b',"occurred_at":NaN}', "occurred_at: must be an integer, got NaN"),
    "1e400": (raw()[:-1] + b',"occurred_at":1e400}', "occurred_at: must be an integer, got Infinity"),
    "2**70": (
        raw(occurred_at=2**70),
        "occurred_at: must be ≤ 9007199254740991, got an integer of more than 64 bits",
    ),
    "5,000 digits": (
        raw()[:-1] + b',"records":' + b"9" * 5_000 + b"}",
        "not valid JSON: number out of range",
    ),
    "lone surrogate": (raw(tool="\ud800"), "not valid JSON: unexpected end of hex escape"),
    "lone surrogate in an unknown member": (
        raw(x="\udfff"),
        "not valid JSON: lone leading surrogate in hex escape",
    ),
    "broken UTF-8": (raw()[:-1] + b',"tool":"\xff"}', "not valid JSON: invalid unicode code point"),
    "overlong UTF-8": (raw()[:-1] + b',"tool":"\xc0\xaf"}', "not valid JSON: invalid unicode code point"),
    "raw line break": (raw()[:-1] + b',"tool":"a\nb"}', "not valid JSON: control character"),
    "boolean as integer": (raw(occurred_at=True), "occurred_at: must be an integer, got true"),
    "text as integer": (
        raw(occurred_at="1795501800000"),
        "occurred_at: must be an integer, got text of 13 characters",
    ),
    "seconds": (
        raw(occurred_at=NOW // 1000),
        "occurred_at: must be milliseconds since 1970, from the year 2000 on, got 1795501800",
    ),
    "number as text": (raw(operation=7), "operation: must be a string, got 7"),
    "float": (raw(occurred_at=1.0), "occurred_at: must be an integer, got 1.0"),
    "too long": (
        raw(session_id="x" * 129),
        "session_id: must be at most 128 characters, got text of 129 characters",
    ),
    "empty id": (raw(event_id=""), "event_id: must be at least 1 character, got text of 0 characters"),
    "empty tenant": (raw(tenant=""), "tenant: must be at least 1 character, got text of 0 characters"),
    "several": (raw(status=99, tool=1, event_id=7), "event_id: must be a string, got 7 (and 2 more)"),
    "missing": (b"{}", "type: is missing (and 6 more)"),
}


@pytest.mark.parametrize(("value", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_bad_record_is_rejected_with_a_reason_a_person_understands(value: bytes | None, reason: str) -> None:
    (text,) = reasons(value)

    assert text.startswith(reason)
    assert text == reason or "not valid JSON" in reason


def test_the_last_of_a_repeated_field_counts() -> None:
    value = raw()[:-1] + b',"status":200,"status":404}'

    assert decode(value).events == [plain(status=404)]


def test_length_is_counted_in_characters_not_bytes() -> None:
    assert decode(raw(tool="é" * 128)).events == [plain(tool="é" * 128)]


def test_a_record_over_the_size_limit_is_not_even_parsed() -> None:
    value = raw(x="y" * 2_000)
    (text,) = reasons(value, limits=Limits(max_bytes=1_000))

    assert text == f"value of {len(value)} bytes, at most 1000 are read"
    assert reasons(value, limits=Limits(max_bytes=len(value))) == []


def test_an_event_from_the_far_future_is_rejected_and_one_from_the_near_is_not() -> None:
    near, far = NOW + 300_000, NOW + 301_000

    decoded = decode(raw(occurred_at=near), raw(occurred_at=far), raw(occurred_at=YEAR_2000_MS))

    assert decoded.places == [0, 2]
    assert decoded.rejected == [Rejected(1, "occurred_at is 301 s in the future")]


@pytest.mark.parametrize("key", [None, b"", b"s-2", b"s-1 ", b"\xff", b"S-1"])
def test_a_record_under_another_key_is_rejected(key: bytes | None) -> None:
    decoded = decode_chunk("api-calls", [raw(), raw()], [b"s-1", key], now_ms=NOW)

    got = "no key" if key is None else f"another of {len(key)} bytes"
    assert decoded.places == [0]
    assert decoded.rejected == [Rejected(1, f"key: must be the event's session_id, got {got}")]


def test_the_key_is_the_utf_8_of_the_field() -> None:
    values, keys = [raw(session_id="sé")], ["sé".encode()]

    assert decode_chunk("api-calls", values, keys, now_ms=NOW).places == [0]


def test_records_from_a_file_need_no_keys() -> None:
    assert decode_chunk("api-calls", [raw(session_id="s-9")], None, now_ms=NOW).places == [0]


def test_a_record_must_have_its_nested_key() -> None:
    example = EXAMPLES / "session-findings" / "valid" / "create.json"
    values = [example.read_bytes()] * 2

    decoded = decode_chunk("session-findings", values, [b"s-0192f0c47d1e", b"s-1"], now_ms=NOW)

    assert decoded.places == [0]


def test_reasons_come_in_the_order_of_the_records() -> None:
    values = [raw(occurred_at=2**52), raw(session_id="s-2"), b"{", raw(occurred_at=2**52)]

    assert [rejected.index for rejected in decode(*values).rejected] == [0, 1, 2, 3]


@pytest.mark.parametrize("member", ["type", "principal_kind", "session_id", "principal_id", "tenant"])
def test_a_reason_never_shows_a_whole_token(member: str) -> None:
    token = "eyJhbGciOiJSUzI1NiJ9." + "c2VjcmV0" * 40

    (text,) = reasons(raw(**{member: token}))

    assert token[:16] not in text
    assert "c2VjcmV0" not in text


def test_a_topic_that_is_not_in_the_table_raises() -> None:
    with pytest.raises(KeyError, match="no-such-topic"):
        decode_chunk("no-such-topic", [], [], now_ms=NOW)


def test_values_and_keys_of_unequal_length_raise() -> None:
    with pytest.raises(ValueError, match="1 values with 0 keys"):
        decode_chunk("api-calls", [raw()], [], now_ms=NOW)


def test_a_topic_has_one_decoder() -> None:
    assert decoder("api-calls") is decoder("api-calls")


def test_defaults_are_not_shared_between_events() -> None:
    first, second = ChunkDecoder(ApiCall).decode([raw(), raw()], None, now_ms=NOW).events
    first["status"] = 500

    assert second == plain()


def test_telemetry_may_be_ahead_by_a_time_zone_but_not_by_more_than_a_day() -> None:
    report = {"type": "device.telemetry", "event_id": "t-1", "device_id": "phone-1"}
    values = [
        json.dumps({**report, "occurred_at": NOW + ahead * 1000}).encode() for ahead in (0, 14 * 3600, 86_400, 86_401)
    ]

    decoded = decode_chunk("device-telemetry", values, None, now_ms=NOW)

    assert decoded.places == [0, 1, 2]
    assert decoded.rejected == [Rejected(3, "occurred_at is 86401 s in the future")]
