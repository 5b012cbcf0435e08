"""Keys of an authorization server that takes its time."""

from __future__ import annotations

import asyncio
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from pipeline.transmitter.api import external_tokens
from pipeline.transmitter.api.external_tokens import JwksCache

KEY = {**json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())), "kid": "a"}
BODY = json.dumps({"keys": [KEY]}).encode()


def test_while_keys_are_fetched_again_known_ones_are_given_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    asked: list[str] = []

    async def work() -> None:
        answers = asyncio.Event()

        async def fetch(url: str) -> bytes:
            asked.append(url)
            await answers.wait()
            return BODY

        monkeypatch.setattr(external_tokens, "_fetch", fetch)
        keys = JwksCache("https://as.example.com/keys", lambda: now[0])
        first = [asyncio.create_task(keys.find("a")) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert [task.done() for task in first] == [False] * 3  # nothing is known yet
        answers.set()
        assert [(await task) is not None for task in first] == [True] * 3

        answers.clear()
        now[0] = external_tokens.REFRESH_MS + 1
        slow = asyncio.create_task(keys.find("a"))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            assert await keys.find("a") is not None
        assert not slow.done()
        answers.set()
        assert await slow is not None

    asyncio.run(work())

    assert len(asked) == 2


def test_a_token_without_a_key_s_name_is_of_the_only_key_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bodies = [BODY, json.dumps({"keys": [KEY, {**KEY, "kid": "b"}]}).encode()]

    async def fetch(_url: str) -> bytes:
        return bodies.pop(0)

    async def found() -> bool:
        return await JwksCache("https://as.example.com/keys", lambda: 0).find(None) is not None

    monkeypatch.setattr(external_tokens, "_fetch", fetch)

    assert [asyncio.run(found()), asyncio.run(found())] == [True, False]
