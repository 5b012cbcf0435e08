"""The secret key of the string caches decides where an entry lies in memory, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from models.events.columns import Columns
from models.events.text_hashing import siphash_key
from pipeline import assembly
from pipeline.control.active import ActiveConfig
from pipeline.offline.replay.runner import Replay
from pipeline.processing.processor import Message
from pipeline.sessions.processor import Options
from tests.offline.test_replay import STORIES
from tests.support.event_streams import OddTotals

KEYS = (bytes(range(16)), bytes(range(255, 239, -1)))


def _replayed_with(key: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Message], dict[Any, Any]]:
    monkeypatch.setattr("pipeline.assembly.secrets.token_bytes", lambda count: key[:count])
    replay = Replay(assembly.processor_specs(ActiveConfig(detector=OddTotals()), Options(partitions=2)), 2)
    return list(replay.run(STORIES)), dict(replay.state)


def test_messages_and_state_are_the_same_with_any_key(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (_replayed_with(key, monkeypatch) for key in KEYS)

    assert len(one[0]) > 100
    assert one == other


def test_every_worker_draws_a_key_of_its_own() -> None:
    sessions = [assembly.processor_specs(ActiveConfig(), Options())[0].create(0) for _ in range(2)]

    keys = [session.columns._identities._key.tolist() for session in sessions if hasattr(session, "columns")]

    assert len(keys) == 2
    assert keys[0] != keys[1]


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"a key of {length} bytes, it must have 16"):
        siphash_key(bytes(length))
    with pytest.raises(ValueError, match="it must have 16"):
        Columns(bytes(length))
