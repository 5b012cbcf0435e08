"""Every record of a chunk is judged as if it were alone, whatever bytes stand beside it."""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.decode import decode_chunk, record_key
from schemas.decoded import Decoded, Rejected
from schemas.events import ApiCall
from schemas.export import EXAMPLES
from schemas.topics import TOPICS
from tests.support.raw_calls import LIMITS, NOW, plain, raw
from tests.support.repairs import repair

INPUTS = [topic for topic in TOPICS.values() if topic.direction == "input"]


def alone(topic: str, values: Sequence[bytes | None], keys: Sequence[bytes | None]) -> Decoded[Any]:
    """The expected result for a chunk, the slow way: every record validated by its model, on its own."""
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
        repaired = repair(topic, value)
        if repaired is None:
            return None
        event = repaired[0]
    fits = len(value) <= LIMITS.max_bytes and event["occurred_at"] <= NOW + LIMITS.ahead_ms(topic)
    return event if fits and event[str(TOPICS[topic].key)].encode() == key else None


def assert_as_if_alone(topic: str, values: Sequence[bytes | None], keys: Sequence[bytes | None]) -> Decoded[Any]:
    decoded, expected = decode_chunk(topic, values, keys, now_ms=NOW), alone(topic, values, keys)
    assert decoded.events == expected.events
    assert decoded.places == expected.places
    assert [r.index for r in decoded.rejected] == [r.index for r in expected.rejected]
    for rejected in decoded.rejected:
        assert rejected.reason.isprintable()
        assert 0 < len(rejected.reason) <= 200
    return decoded


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


def _valid(topic: str) -> list[bytes]:
    folder = EXAMPLES / topic / "valid"
    return [json.dumps(json.loads(path.read_bytes())).encode() for path in sorted(folder.glob("*.json"))]


def _mutated(value: bytes, chance: random.Random) -> bytes:
    """*value* with one to four damages: a byte changed, removed or inserted; a piece cut, doubled or moved."""
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
    st.dictionaries(st.sampled_from(list(ApiCall.model_fields)), json_values, max_size=3).map(lambda m: raw(**m)),
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
