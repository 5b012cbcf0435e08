"""The door between bytes and messages: every record is judged alone, nothing raises, reasons can be read."""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mendings import mend
from schemas.decode import ChunkDecoder, decode_chunk, decoder, record_key
from schemas.decoded import Decoded, Limits, Rejected
from schemas.events import ApiCall
from schemas.export import EXAMPLES
from schemas.members import YEAR_2000_MS
from schemas.topics import TOPICS

NOW = 1_795_501_800_000
INPUTS = [topic for topic in TOPICS.values() if topic.direction == "input"]
LIMITS = Limits()


def call(**members: Any) -> dict[str, Any]:
    """A small valid `api.call`, with what a test states changed."""
    return {
        "type": "api.call",
        "event_id": "c-1",
        "occurred_at": NOW,
        "session_id": "s-1",
        "principal_id": "u-1",
        "principal_kind": "human",
        "operation": "GET /accounts/{id}",
        **members,
    }


def raw(**members: Any) -> bytes:
    return json.dumps(call(**members)).encode()


def plain(**members: Any) -> dict[str, Any]:
    return ApiCall.model_validate(call(**members)).model_dump()


def decode(*values: bytes | None, limits: Limits = LIMITS) -> Decoded:
    """Decode API calls that all lie under the key `s-1`."""
    return decode_chunk("api-calls", values, [b"s-1"] * len(values), now_ms=NOW, limits=limits)


def reasons(*values: bytes | None, limits: Limits = LIMITS) -> list[str]:
    return [rejected.reason for rejected in decode(*values, limits=limits).rejected]


def alone(topic: str, values: Sequence[bytes | None], keys: Sequence[bytes | None]) -> Decoded:
    """What a chunk must come to, told the slow way: every record through its model, on its own."""
    events: list[dict[str, Any]] = []
    result = Decoded(events, [], [])
    for index, (value, key) in enumerate(zip(values, keys, strict=True)):
        event = _one(topic, value or b"", key)
        if event is None:
            result.rejected.append(Rejected(index, ""))
        else:
            events.append(event)
            result.places.append(index)
    return result


def _one(topic: str, value: bytes, key: bytes | None) -> dict[str, Any] | None:
    model = TOPICS[topic].model
    try:
        event = model.model_validate_json(value).model_dump()
    except ValidationError:
        mended = mend(topic, value)
        if mended is None:
            return None
        event = mended[0]
    fits = len(value) <= LIMITS.max_bytes and event["occurred_at"] <= NOW + LIMITS.ahead_ms(topic)
    return event if fits and event[str(TOPICS[topic].key)].encode() == key else None


def assert_as_if_alone(topic: str, values: Sequence[bytes | None], keys: Sequence[bytes | None]) -> Decoded:
    decoded, expected = decode_chunk(topic, values, keys, now_ms=NOW), alone(topic, values, keys)
    assert decoded.events == expected.events
    assert decoded.places == expected.places
    assert [r.index for r in decoded.rejected] == [r.index for r in expected.rejected]
    for rejected in decoded.rejected:
        assert rejected.reason.isprintable()
        assert 0 < len(rejected.reason) <= 200
    return decoded


# --- a chunk ------------------------------------------------------------------------------------------------


def test_a_chunk_of_good_records_comes_out_whole_and_in_order() -> None:
    decoded = decode(raw(event_id="a"), raw(event_id="b", tenant="acme"))

    assert decoded == Decoded([plain(event_id="a"), plain(event_id="b", tenant="acme")], [0, 1], [])


def test_an_empty_chunk_is_no_trouble() -> None:
    assert decode() == Decoded([], [], [])


def test_bad_neighbours_do_not_touch_the_good() -> None:
    decoded = decode(
        None, raw(event_id="a"), b"{", raw(event_id="b"), raw(type="x"), b"\xff", raw(event_id="c")
    )

    assert decoded.events == [plain(event_id=name) for name in "abc"]
    assert decoded.places == [1, 3, 6]
    assert [rejected.index for rejected in decoded.rejected] == [0, 2, 4, 5]


HALVES = [
    [b'{"a":1', b'"b":2}', raw() + b"," + raw()],
    [raw()[:-1], b'"x":1}', raw() + b"," + raw()],
    [raw() + b",", raw(), b","],
    [raw() + b"," + raw(), b"", raw()],
    [raw() + b"," + raw(), b"  ", raw()],
    [raw()[:-1] + b',"z":[[1', b"2]]}", raw() + b"],[" + raw()],
    [raw()[:-1] + b',"z":"', b'"}', raw() + b"," + raw()],
    [b"1},{", raw(), b"}"],
    [b"[" + raw(), raw() + b"]"],
    [raw() + b"\n" + raw(), b"\n"],
    [raw() + raw(), raw()],
    [b"/*" + raw(), b"*/" + raw()],
]


@pytest.mark.parametrize("values", HALVES, ids=range(len(HALVES)))
def test_halves_of_records_never_make_one_together(values: list[bytes]) -> None:
    decoded = assert_as_if_alone("api-calls", values, [b"s-1"] * len(values))

    assert decoded.events == [plain() for value in values if value == raw()]


# --- one record ---------------------------------------------------------------------------------------------

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
def test_a_bad_record_is_rejected_with_a_reason_a_person_understands(
    value: bytes | None, reason: str
) -> None:
    (told,) = reasons(value)

    assert told.startswith(reason)
    assert told == reason or "not valid JSON" in reason


def test_the_last_of_a_repeated_member_counts() -> None:
    value = raw()[:-1] + b',"status":200,"status":404}'

    assert decode(value).events == [plain(status=404)]


def test_length_is_counted_in_characters_not_bytes() -> None:
    assert decode(raw(tool="é" * 128)).events == [plain(tool="é" * 128)]


def test_a_record_over_the_size_limit_is_not_even_parsed() -> None:
    value = raw(x="y" * 2_000)
    (told,) = reasons(value, limits=Limits(max_bytes=1_000))

    assert told == f"value of {len(value)} bytes, at most 1000 are read"
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


def test_the_key_is_the_utf_8_of_the_member() -> None:
    values, keys = [raw(session_id="sé")], ["sé".encode()]

    assert decode_chunk("api-calls", values, keys, now_ms=NOW).places == [0]


def test_records_from_a_file_need_no_keys() -> None:
    assert decode_chunk("api-calls", [raw(session_id="s-9")], None, now_ms=NOW).places == [0]


def test_a_record_with_a_nested_key_is_held_to_it() -> None:
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

    (told,) = reasons(raw(**{member: token}))

    assert token[:16] not in told
    assert "c2VjcmV0" not in told


def test_a_topic_that_is_not_in_the_table_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="no-such-topic"):
        decode_chunk("no-such-topic", [], [], now_ms=NOW)


def test_values_and_keys_of_unequal_length_are_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="1 values with 0 keys"):
        decode_chunk("api-calls", [raw()], [], now_ms=NOW)


def test_a_topic_has_one_decoder() -> None:
    assert decoder("api-calls") is decoder("api-calls")


def test_defaults_are_not_shared_between_events() -> None:
    first, second = ChunkDecoder(ApiCall).decode([raw(), raw()], None, now_ms=NOW).events
    first["status"] = 500

    assert second == plain()


# --- laws ---------------------------------------------------------------------------------------------------


def _valid(topic: str) -> list[bytes]:
    folder = EXAMPLES / topic / "valid"
    return [json.dumps(json.loads(path.read_bytes())).encode() for path in sorted(folder.glob("*.json"))]


def _mutated(value: bytes, chance: random.Random) -> bytes:
    """*value* with one to four damages: a byte changed, taken, put in; a piece cut, doubled, moved."""
    data = bytearray(value)
    for _ in range(chance.randint(1, 4)):
        at, to = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
        piece = data[at:to]
        data[at : chance.choice((at, at, at + 1, to))] = chance.choice(
            (b"", bytes([chance.randrange(256)]), chance.choice(_PIECES), piece, piece[::-1])
        )
    return bytes(data)


_PIECES = [
    *(bytes([byte]) for byte in b'{}[],:"\\0-eE. \n\t'),
    b"null",
    b"},{",
    b"],[",
    b"1e400",
    b"NaN",
    b"\\ud800",
]


def _damaged(topic: str, count: int, chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Values, nine in ten damaged, each with the key of what it was."""
    originals = [(value, record_key(topic, json.loads(value))) for value in _valid(topic)]
    for _ in range(count):
        value, key = chance.choice(originals)
        yield (value if chance.random() < 0.1 else _mutated(value, chance)), key


@pytest.mark.parametrize("topic", [topic.name for topic in INPUTS])
def test_ten_thousand_damaged_records_raise_nothing_and_are_judged_as_if_alone(topic: str) -> None:
    chance = random.Random(f"{topic} 20261124")  # noqa: S311 - seeded, for tests
    damaged = list(_damaged(topic, 10_000, chance))
    good = bad = 0
    for start in range(0, len(damaged), 512):
        values, keys = zip(*damaged[start : start + 512], strict=True)
        decoded = assert_as_if_alone(topic, values, keys)
        good, bad = good + len(decoded.events), bad + len(decoded.rejected)

    assert good > 1_000
    assert bad > 5_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
records = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.sampled_from([fragment for values in HALVES for fragment in values]),
    st.dictionaries(st.sampled_from(list(ApiCall.model_fields)), json_values, max_size=3).map(
        lambda m: raw(**m)
    ),
    json_values.map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(records, st.sampled_from([b"s-1", b"s-2", None])), max_size=8))
def test_any_chunk_is_judged_as_if_each_record_were_alone(
    pairs: list[tuple[bytes | None, bytes | None]],
) -> None:
    values, keys = [value for value, _ in pairs], [key for _, key in pairs]

    decoded = assert_as_if_alone("api-calls", values, keys)

    singles = [decode_chunk("api-calls", [v], [k], now_ms=NOW) for v, k in pairs]
    assert decoded.events == [event for single in singles for event in single.events]
    assert [r.reason for r in decoded.rejected] == [r.reason for single in singles for r in single.rejected]


def test_telemetry_is_read_though_its_device_lives_in_another_time_zone_and_not_if_in_another_day() -> None:
    report = {"type": "device.telemetry", "event_id": "t-1", "device_id": "phone-1"}
    values = [
        json.dumps({**report, "occurred_at": NOW + ahead * 1000}).encode()
        for ahead in (0, 14 * 3600, 86_400, 86_401)
    ]

    decoded = decode_chunk("device-telemetry", values, None, now_ms=NOW)

    assert decoded.places == [0, 1, 2]
    assert decoded.rejected == [Rejected(3, "occurred_at is 86401 s in the future")]
