"""A transmitter as a process: told to end it ends in order; where it was not, it says what made it end."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import RightsMissingError
from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter import process
from pipeline.transmitter.api.server import listen
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.process import TransmitterComponents, transmit
from pipeline.transmitter.startup import prepare
from pipeline.transmitter.store import signing_keys
from schemas.decoded import DEFAULT_LIMITS
from tests.support.ssf_transmitter import transmitter

PATIENCE = 60.0


class Idle:
    """A part of the work that has nothing to do; fails as soon as *fails* is set."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self._fails = fails
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        if self._fails is not None:
            raise self._fails
        await self._stop.wait()


@pytest.fixture
def means(tmp_path: Path) -> Iterator[TransmitterComponents]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    settings = TransmitterSettings(
        issuer=f"http://127.0.0.1:{port}",
        port=port,
        allow_insecure=True,
        database=f"sqlite:///{tmp_path}/store.db",
    )
    shown = TransmitterMetrics(CollectorRegistry())
    made = prepare(Connection("127.0.0.1:1"), DEFAULT_LIMITS, settings, shown)
    yield made
    made.store.close()


def ran(means: TransmitterComponents, meanwhile: Callable[[], Any] = lambda: None) -> int:
    """Transmit, and *meanwhile* do something in a thread; then tell it to end, and return its exit code."""

    async def story() -> int:
        ended = asyncio.Event()
        with listen(means.settings) as at:
            code = asyncio.create_task(transmit(means, at, ended))
            await asyncio.to_thread(meanwhile)
            ended.set()
            async with asyncio.timeout(PATIENCE):
                return await code

    return asyncio.run(story())


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_told_to_end_it_ends_with_0(means: TransmitterComponents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_leader_tasks", lambda _: (Idle(),))
    leads: list[float] = []

    def look() -> None:
        until(lambda: means.metrics.registry.get_sample_value("session_risk_transmitter_leads") == 1.0)
        leads.append(1.0)

    assert (ran(means, look), leads) == (0, [1.0])
    assert means.metrics.registry.get_sample_value("session_risk_transmitter_leads") == 0.0


def test_a_part_that_fails_ends_it_with_1_and_is_named(
    means: TransmitterComponents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "_leader_tasks", lambda _: (Idle(), Idle(ZeroDivisionError("a bug"))))

    assert ran(means, lambda: until(lambda: "cannot go on" in caplog.text)) == 1
    assert "the transmitter cannot go on: working ended: ZeroDivisionError('a bug')" in caplog.text


def test_a_right_that_is_taken_away_is_told_in_a_sentence(
    means: TransmitterComponents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused = RightsMissingError("the brokers do not let this client read topic session-risk")
    monkeypatch.setattr(process, "_leader_tasks", lambda _: (Idle(refused),))

    assert ran(means, lambda: until(lambda: "cannot go on" in caplog.text)) == 1
    (log_record,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert (log_record.getMessage(), log_record.exc_info) == (
        f"the transmitter cannot go on: {refused}",
        None,
    )


def test_a_key_that_another_process_made_signs_here_soon(
    means: TransmitterComponents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_leader_tasks", lambda _: (Idle(),))
    monkeypatch.setattr(process, "KEY_REFRESH_S", 0.05)
    before = means.signer.kid

    def rotate() -> None:
        with means.store.begin() as conn:
            signing_keys.Signer(means.store.sealer).rotate(conn, process.clock())
        until(lambda: means.signer.kid != before)

    assert ran(means, rotate) == 0


def test_a_poll_that_waits_is_answered_before_the_process_ends(tmp_path: Path) -> None:
    answers: list[int] = []
    with transmitter(tmp_path, long_poll_s=600) as rig:
        receiver = rig.receiver("patient")
        stream = receiver.create()
        receiver.poll(stream)

        def wait() -> None:
            answer = receiver.poll(stream, returnImmediately=False)
            answers.append(answer.status)

        polling = threading.Thread(target=wait)
        polling.start()
        time.sleep(0.5)
        assert answers == []
        rig.stop()
        polling.join(PATIENCE)

    assert answers == [200]
