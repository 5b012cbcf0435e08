"""Calls read in bulk equal calls decoded one by one: same events, same rejections, same numbers."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from models.events.api_calls import FIELD_INDEX, Calls, read_ahead, read_calls
from models.events.batch import Batch, batch_of_calls
from models.events.columns import Columns
from models.events.flat_json import scan
from models.events.flat_json_schema import form_of
from models.events.text_hashing import equal_texts, siphash_key, siphash_rows, spans_of
from schemas.decode import decode_chunk
from schemas.decoded import DEFAULT_LIMITS
from schemas.events import ApiCall

NOW = 1_795_501_800_000
FORM = form_of(ApiCall)


def call(**changes: Any) -> dict[str, Any]:
    """A call as a gateway tells it, with what a test states changed."""
    return {
        "type": "api.call",
        "event_id": "c-1",
        "occurred_at": NOW,
        "tenant": "acme",
        "session_id": "s-1",
        "principal_id": "u-1",
        "principal_kind": "human",
        "device_id": "d-1",
        "ip": "192.0.2.7",
        "asn": 64500,
        "country": "NL",
        "latitude": 52.37,
        "longitude": -4.9,
        "network_type": "wifi",
        "user_agent": "Firefox/141.0",
        "token_id": "t-1",
        "operation": "GET /accounts/{id}",
        "status": 200,
        "method": "GET",
        "bytes_out": 1200,
        "records": 3,
        "sensitivity": "confidential",
        "resource": "r-1",
        "latency_ms": 12,
        "x_unknown": True,
        **changes,
    }


def raw(**changes: Any) -> bytes:
    return json.dumps(call(**changes)).encode()


def _columns(batch: Batch) -> list[Any]:
    """Everything of a batch as plain lists, NaN as text so that it equals itself."""
    list_read = [batch.keys, batch.ids, batch.at, *(part for part in batch.fields)]
    return [str(part.tolist()) for part in list_read]


def assert_as_one_by_one(values: Sequence[bytes | None], keys: Sequence[bytes | None]) -> Calls:
    whole = decode_chunk("api-calls", values, keys, now_ms=NOW)
    read = read_calls(values, keys, now_ms=NOW)
    calls = read.events

    assert isinstance(calls, Calls)
    assert list(calls) == whole.events
    assert (read.places, read.rejected, read.repaired) == (whole.places, whole.rejected, whole.repaired)
    assert [calls.event_id(at) for at in range(len(calls))] == [event["event_id"] for event in whole.events]
    backwards = list(range(len(whole.events)))[::-1]
    assert list(calls.chosen(backwards)) == whole.events[::-1]
    if whole.events:
        assert _columns(Columns(bytes(16)).calls(calls)) == _columns(Columns(bytes(16)).calls(whole.events))
    _assert_as_if_read_ahead(values, keys)
    return calls


def _assert_as_if_read_ahead(values: Sequence[bytes | None], keys: Sequence[bytes | None]) -> None:
    """Assert that calls that were read ahead are those that are decoded when they are due, in whatever chunks."""
    ahead = read_ahead([value or b"" for value in values], keys)
    alone = [ahead.chunk([place], NOW, DEFAULT_LIMITS) for place in range(len(values))]
    plain = [place for place, chunk in enumerate(alone) if chunk is not None]
    for places in (*([place] for place in plain), plain[::-1]):
        if places:
            chunk = ahead.chunk(places, NOW, DEFAULT_LIMITS)
            expected = decode_chunk("api-calls", [values[at] for at in places], [keys[at] for at in places], now_ms=NOW)
            assert chunk is not None
            assert list(chunk.events) == expected.events
            assert (chunk.places, chunk.rejected, chunk.repaired) == (expected.places, [], [])
            columns = Columns(bytes(16))
            assert _columns(batch_of_calls(chunk.events, columns.calls)) == _columns(columns.calls(expected.events))
    if len(plain) < len(values):
        assert ahead.chunk(range(len(values)), NOW, DEFAULT_LIMITS) is None


# --- whatever comes -----------------------------------------------------------------------------------------

MEMBERS = sorted(ApiCall.model_fields)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            0,
            -0.0,
            1,
            100,
            599,
            2**53 - 1,
            2**53,
            1.5,
            91.0,
            -180,
            52.370216,
            1e300,
            "",
            "x" * 64,
            "x" * 73,
            "x" * 129,
            "x" * 600,
            "NL",
            "nl",
            "NLD",
            "wifi",
            "human",
            "api_key",
            "ünï",
            'a"b',
            "a\\b",
            "\0",
            "public",
            "\x7f",
        ]
    ),
    st.lists(st.integers(), max_size=2),
)
changed = st.dictionaries(st.sampled_from([*MEMBERS, "unknown", "occurred_at_", ""]), scalars, max_size=4)
gone = st.sets(st.sampled_from(MEMBERS), max_size=3)
written = st.tuples(changed, gone, st.booleans(), st.booleans(), st.integers(0, 2**32))


def _write(spec: tuple[dict[str, Any], set[str], bool, bool, int]) -> bytes:
    changes, gone, spaced, escaped, seed = spec
    fields = {name: value for name, value in call(**changes).items() if name not in gone}
    names = list(fields)
    if seed % 3 == 0:
        random.Random(seed).shuffle(names)  # noqa: S311 - an order, not a secret
    separators = (" , ", " : ") if spaced else (",", ":")
    text = json.dumps({name: fields[name] for name in names}, ensure_ascii=escaped, separators=separators)
    return text.encode("utf-8", "surrogatepass")


def _spoilt(value: bytes, chance: random.Random) -> bytes:
    """*value* with a byte changed, gone or doubled, or cut."""
    at = chance.randrange(len(value))
    byte = bytes([chance.choice(b'"\\{}[]:,0-9.eE+ntf \n\0\x80\xff')])
    heads, tails = (value[:at], value[:at] + byte), (value[at:], value[at + 1 :], b"")
    return chance.choice(heads) + chance.choice(tails)


@settings(max_examples=400)
@given(st.lists(st.tuples(written, st.sampled_from([b"s-1", b"s-1", b"s-2", None])), min_size=1, max_size=6))
def test_calls_with_any_fields_are_read_as_one_by_one(chosen: list[tuple[Any, bytes | None]]) -> None:
    assert_as_one_by_one([_write(spec) for spec, _ in chosen], [key for _, key in chosen])


def test_calls_spoilt_in_ten_thousand_ways_are_read_as_one_by_one() -> None:
    chance = random.Random(5)  # noqa: S311 - as above
    for _ in range(100):
        values = [_spoilt(raw(event_id=f"c-{at}"), chance) for at in range(100)]
        assert_as_one_by_one(values, [b"s-1"] * len(values))


def test_a_call_cut_anywhere_is_refused_as_one_by_one() -> None:
    whole = raw()
    assert_as_one_by_one([whole[:end] for end in range(len(whole))], [b"s-1"] * len(whole))


HALVES = [
    [b'{"a":1', b'"b":2}', raw() + b"," + raw()],
    [raw()[:-1], b'"x":1}', raw()],
    [raw()[:-1] + b',"tool":"', raw(), b'"}'],
    [raw() + b"\0", raw(), b"\0" + raw(), b"", raw()],
    [raw()[:-1] + b',"tool":"a\0', b'"}' + raw()],
    [raw() + b"\n" + raw(), b"\n", None, raw() + b" \r\n\t"],
]


@pytest.mark.parametrize("values", HALVES, ids=range(len(HALVES)))
def test_no_record_reaches_into_the_next(values: list[bytes | None]) -> None:
    assert_as_one_by_one(values, [b"s-1"] * len(values))


ODD = {
    "a field twice": b',"status":404}',
    "the session twice": b',"session_id":"s-2"}',
    "the session, then null": b',"session_id":null}',
    "a longitude of minus nothing": b',"longitude":-0}',
    "a longitude of minus nothing at all": b',"longitude":-0.0}',
    "null, then not": b',"ja4":null,"ja4":"x"}',
    "an unknown field twice": b',"y":1,"y":2}',
    "a number with an exponent": b',"bytes_in":1e3}',
    "a whole number with a point": b',"bytes_in":1.0}',
    "a zero below zero": b',"x":-0,"y":-0.0}',
    "a number that begins with zeros": b',"x":007}',
    "a number without digits": b',"x":-}',
    "a number without decimals": b',"x":1.}',
    "a number with letters": b',"x":1a}',
    "a word cut short": b',"x":nul}',
    "a word too long": b',"x":nulll}',
    "false": b',"x":false}',
    "fals": b',"x":fals }',
    "something nested": b',"x":{"session_id":"s-2"}}',
    "a comma at the end": b",}",
    "no comma": b' "x":1}',
    "no colon": b',"x" 1}',
    "a name with an escape": b',"sess\\u0069on_id":"s-2"}',
    "a name that is long": b',"' + b"n" * 300 + b'":1}',
    "a name without a letter": b',"":1}',
    "a huge whole number": b',"x":' + b"9" * 400 + b"}",
    "sixteen digits": b',"bytes_in":9007199254740991}',
    "one too many": b',"bytes_in":9007199254740992}',
}


@pytest.mark.parametrize("tail", ODD.values(), ids=ODD)
def test_odd_json_is_read_as_any_json_reader_would(tail: bytes) -> None:
    assert_as_one_by_one([raw(), raw()[:-1] + tail, raw(event_id="c-2")], [b"s-1"] * 3)


def test_a_record_that_is_too_long_or_of_the_future_is_refused_for_it() -> None:
    values = [raw(occurred_at=NOW + 300_000), raw(occurred_at=NOW + 300_001), raw(x="y" * 70_000)]
    calls = assert_as_one_by_one(values, [b"s-1"] * 3)
    assert len(calls) == 1


def test_more_values_than_keys_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="2 values with 1 keys"):
        read_calls([raw(), raw()], [b"s-1"], now_ms=NOW)


def test_without_a_tenant_or_with_null_it_is_the_default_tenant() -> None:
    named = {name: value for name, value in call().items() if name != "tenant"}
    values = [json.dumps(named).encode(), raw(tenant=None), raw(tenant="default")]
    calls = assert_as_one_by_one(values, [b"s-1"] * 3)
    assert len(set(Columns(bytes(16)).calls(calls).keys.tolist())) == 1


# --- what it is for -----------------------------------------------------------------------------------------


def test_what_a_gateway_writes_is_read_in_bulk_and_nothing_else_is() -> None:
    plain = [raw(event_id="a"), raw(event_id="b", tenant=None), b" " + raw(event_id="c") + b"\n"]
    other = [raw(event_id="d", user_agent="Füchse"), raw(event_id="e", tool='the "best"')]
    calls = assert_as_one_by_one([*plain, *other], [b"s-1"] * 5)

    assert (calls.rows.tolist(), sorted(calls.others)) == ([0, 1, 2, -1, -1], [3, 4])


# --- its parts ----------------------------------------------------------------------------------------------


@given(st.integers(0, 10**15 - 1), st.integers(0, 15))
@example(52370216, 6)
def test_a_decimal_is_the_double_nearest_to_it(digits: int, decimals: int) -> None:
    text = str(digits).rjust(decimals + 1, "0")
    text = text if decimals == 0 else f"{text[:-decimals]}.{text[-decimals:]}"
    number = float(text)

    read = scan(FORM, [b'{"latitude":' + text.encode() + b"}"]).numbers[0, FIELD_INDEX["latitude"]]

    within = abs(number) <= 90 and len(text.replace(".", "")) <= 15
    assert math.isnan(read) if not within else read == number


class Bounded(BaseModel):
    """What cannot be read in bulk."""

    tags: list[str]


def test_a_model_with_unsupported_fields_is_refused() -> None:
    with pytest.raises(TypeError, match="tags: only bounded texts and numbers can be read in bulk"):
        form_of(Bounded)


texts = st.tuples(st.none() | st.text(max_size=20), st.none() | st.text(max_size=20))


def _siphash13(words: list[int], secret: tuple[int, int]) -> int:
    """SipHash-1-3 of whole words, the slow way (Aumasson, Bernstein 2012, section 2)."""
    mask = 2**64 - 1

    def turn(word: int, bits: int) -> int:
        return (word << bits | word >> 64 - bits) & mask

    def scramble(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
        a, c = (a + b) & mask, (c + d) & mask
        b, d = turn(b, 13) ^ a, turn(d, 16) ^ c
        a, c = (turn(a, 32) + d) & mask, (c + b) & mask
        return a, turn(b, 17) ^ c, turn(c, 32), turn(d, 21) ^ a

    names = (b"uespemos", b"modnarod", b"arenegyl", b"setybdet")
    a, b, c, d = (int.from_bytes(name, "little") ^ secret[at % 2] for at, name in enumerate(names))
    for word in words:
        a, b, c, d = scramble(a, b, c, d ^ word)
        a ^= word
    c ^= 0xFF
    for _ in range(3):
        a, b, c, d = scramble(a, b, c, d)
    return a ^ b ^ c ^ d


def _words(texts: Sequence[str | None]) -> list[int]:
    """A row of texts as the words that are hashed: each one's length and one more, then its bytes."""
    words = []
    for text in texts:
        payload = (text or "").encode()
        words.append(0 if text is None else len(payload) + 1)
        words += [int.from_bytes(payload[at : at + 8], "little") for at in range(0, len(payload), 8)]
    return words


@given(st.lists(texts, min_size=1))
def test_a_keyed_hash_is_siphash_of_lengths_and_texts_of_a_row(rows: list[tuple[str | None, ...]]) -> None:
    flat = spans_of([text for row in rows for text in row])
    spans = flat._replace(starts=flat.starts.reshape(-1, 2), lengths=flat.lengths.reshape(-1, 2))
    key = bytes(range(16))
    secret = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")

    assert siphash_rows(spans, siphash_key(key)).tolist() == [_siphash13(_words(row), secret) for row in rows]


@given(st.lists(texts))
@example([("12345678", "12345678"), ("12345678", "12345679"), ("a", "a\0"), (None, None), ("", ""), ("", None)])
def test_texts_are_equal_where_they_are_the_same_and_present(pairs: list[tuple[str | None, ...]]) -> None:
    some, others = spans_of([name for name, _ in pairs]), spans_of([other for _, other in pairs])

    assert equal_texts(some, others).tolist() == [name is not None and name == other for name, other in pairs]
    assert [some.text_at(at) for at in range(len(pairs))] == [name for name, _ in pairs]
    assert np.array_equal(some.lengths < 0, [name is None for name, _ in pairs])


def test_the_start_of_an_absent_text_does_not_matter() -> None:
    spans = spans_of(["a", "", None, None])
    spans.starts[2:] = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    table = spans._replace(starts=spans.starts.reshape(2, 2), lengths=spans.lengths.reshape(2, 2))

    assert table.rows(np.array([1, 0])) == [(None, None), ("a", "")]
    assert [table.text_at(1, 0), table.text_at(1, 1), table.text_at(0, 1)] == [None, None, ""]
    key = siphash_key(bytes(16))
    moved = table._replace(starts=np.zeros((2, 2), np.int64))
    assert siphash_rows(table, key).tolist()[1] == siphash_rows(moved, key).tolist()[1]
