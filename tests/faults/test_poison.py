"""Records that cannot be read become dead letters and harm nobody."""

from __future__ import annotations

import random

import pytest

from conftest import Player
from outcome import Wrong
from poison import poisoned
from schemas.decode import decode_chunk, encode, record_key
from schemas.topics import API_CALLS
from trial import Trial

NOW = 1_772_409_600_000
CALL = {
    "type": "api.call", "event_id": "e-1", "occurred_at": NOW, "session_id": "s-1", "principal_id": "ana",
    "principal_kind": "human", "operation": "GET /accounts/{id}", "status": 200,
}  # fmt: skip


def test_each_of_ten_thousand_poisoned_records_is_refused_and_none_of_those_beside_them() -> None:
    chance = random.Random(1)
    values = [poisoned(CALL, chance) if index % 2 else encode(CALL) for index in range(20_000)]
    keys = [record_key(API_CALLS, CALL)] * len(values)

    refused = set()
    for start in range(0, len(values), 500):
        part = slice(start, start + 500)
        decoded = decode_chunk(API_CALLS, values[part], keys[part], now_ms=NOW)
        refused |= {start + one.index for one in decoded.rejected}
        assert len(decoded.events) + len(decoded.rejected) == 500

    assert refused == set(range(1, 20_000, 2))


@pytest.mark.faults
def test_one_record_in_a_hundred_cannot_be_read(play: Player) -> None:
    async def nothing_else(one: Trial) -> None:
        await one.moment()
        await one.hurt()

    run = play(nothing_else, poison_share=0.01)
    assert (run.wrong, run.restarts) == (Wrong(), 0)
