"""The transmitter: tokens signed and stored a second, how soon a command is pushed, a hundred streams of which one hangs.

The first and the last need nothing; the second needs Kafka at SESSION_RISK_BROKER and is left out without. What is
measured is named by arguments: `stored`, `command`, `hundred`; else all three.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

import aiokafka
from prometheus_client import CollectorRegistry

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.push import PushDelivery
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import PUSH, Stream
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store, open_store
from pipeline.transmitter.store.encryption import load
from pipeline.transmitter.store.signing_keys import Signer, open_signer
from pipeline.transmitter.tokens.builder import DecodedRecord, TokenBuilder
from pipeline.transmitter.tokens.subjects import Subjects
from schemas.decisions import SessionRevocation
from schemas.topics import SESSION_REVOCATIONS
from tests.benchmarks.bench_core import Clock
from tests.benchmarks.bench_kafka import cpu_seconds
from tests.benchmarks.machine import machine
from tests.support.push_receiver import ACCEPTED, HANG, Receiver, Reply
from tests.support.security_event_tokens import numbered

BROKER = os.environ.get("SESSION_RISK_BROKER")
BIN = Path(sys.executable).parent
ISSUER = "https://tx.example.org"
BATCH = 200
TOKENS = 10_000
RATE = 200
SECONDS = 20
STREAMS = 100


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def command(number: int) -> dict[str, Any]:
    """A command to end a session, decided now."""
    at = now_ms()
    return SessionRevocation(
        tenant="acme",
        session_id=f"s-{number}",
        principal_id=f"user-{number % 5000}",
        principal_kind="human",
        device_id=f"phone-{number}",
        decision_id=f"d-{number}",
        revocation_id=f"r-{at}-{number}",
        reason_admin="Device jailbroken during the session (rule device_jailbroken)",
        reason_user="Your device no longer meets the security policy.",
        detections=["device_jailbroken"],
        score=97.5,
        decided_at=at,
        deadline=at + 60_000,
    ).model_dump()


def stream(stream_id: str, url: str) -> Stream:
    """A stream that is pushed to *url*."""
    return Stream(stream_id, "r-1", "https://idp.example.org", method=PUSH, endpoint_url=url)


@contextmanager
def a_store(alg: Any = "RS256") -> Iterator[tuple[Store, Signer, Path]]:
    """A new store in a folder of its own, on disk."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/store.db", load(Path(folder) / "store.db.key"))
        yield store, open_signer(store, alg, 2048, now_ms()), Path(folder)
        store.close()


def stored(alg: str) -> None:
    """Commands become signed tokens in the store, a batch a transaction, on one core."""
    with a_store(alg) as (store, signer, _):
        with store.begin() as conn:
            streams.add(conn, store.sealer, stream("s-1", "https://idp.example.org/events"))
        token_builder = TokenBuilder(store, signer, Subjects.load(None), ISSUER)
        decoded_records = [DecodedRecord(SESSION_REVOCATIONS, command(number)) for number in range(TOKENS)]
        clock = Clock(time.process_time)
        clock.wrap(signer, "sign_many", "signing")
        cpu, wall = time.process_time(), time.perf_counter()
        for at in range(0, TOKENS, BATCH):
            token_builder.build(decoded_records[at : at + BATCH], now_ms())
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(
        f"{alg}: {TOKENS / cpu:,.0f} tokens per second of processor time signed and stored, {TOKENS / wall:,.0f} "
        f"a second by the wall clock; signing is {clock.spent['signing'] / cpu:.0%}"
    )


class Arrivals:
    """When each session's token came to the receiver, by the clock that also says when its command was sent."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def answer(self, claims: dict[str, Any]) -> Reply:
        """Take it."""
        self.at.setdefault(claims["sub_id"]["session"]["id"], time.perf_counter())
        return ACCEPTED


@contextmanager
def transmitter(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A transmitter's process on the store in *folder*."""
    prefix = "SESSION_RISK_TRANSMITTER_"
    environment = os.environ | {
        f"{prefix}DATABASE": f"sqlite:///{folder}/store.db",
        f"{prefix}ALLOW_INSECURE": "true",
        f"{prefix}ISSUER": ISSUER,
        f"{prefix}PORT": "9643",
        f"{prefix}PUSH_AT_ONCE": "32",
        f"{prefix}METRICS_PORT": "9644",
        "SESSION_RISK_LOG_LEVEL": "WARNING",
    }
    subprocess.run([BIN / "session-risk", "topics", "create"], env=environment, check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen([BIN / "session-risk", "transmitter"], env=environment)
    try:
        until = time.monotonic() + 60
        while not leads() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.2)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def leads() -> bool:
    """Whether the transmitter works, by its own word."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:9644/metrics", timeout=5) as page:
            return "session_risk_transmitter_leads 1" in page.read().decode()
    except OSError:
        return False


async def sent(count: int) -> dict[str, float]:
    """Send commands at the rate; return when each was sent."""
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=BROKER, acks=1, linger_ms=0)
    await producer.start()
    at: dict[str, float] = {}
    begun = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
        fields = command(number)
        value = json.dumps({name: item for name, item in fields.items() if item is not None}).encode()
        at[fields["session_id"]] = time.perf_counter()
        await producer.send(SESSION_REVOCATIONS, value=value, key=fields["session_id"].encode())
    await producer.stop()
    return at


def commanded() -> None:
    """From a command's sending to Kafka to its token at the receiver."""
    arrivals = Arrivals()
    with a_store() as (store, _, folder), Receiver(arrivals.answer) as receiver:
        with store.begin() as conn:
            this_stream = stream("s-1", receiver.url)
            streams.add(conn, store.sealer, Stream(**{**_members(this_stream), "subject_form": "complex"}))
        with transmitter(folder) as process:
            time.sleep(5)
            used = cpu_seconds(process.pid)
            at = asyncio.run(sent(RATE * SECONDS))
            until = time.monotonic() + 30
            while len(arrivals.at) < len(at) and time.monotonic() < until and process.poll() is None:
                time.sleep(0.2)
            used = cpu_seconds(process.pid) - used
    took = [arrivals.at[name] - begun for name, begun in at.items() if name in arrivals.at]
    print(
        f"command in Kafka to its first push at {RATE}/s: {spread(took)}; {len(at) - len(took)} did not come; "
        f"{used / len(at) * 1000:.2f} ms of processor time each"
    )


def _members(one: Stream) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Stream.__dataclass_fields__}


async def pushed(store: Store, *, hanging: bool) -> list[float]:
    """Two tokens a second for each of the streams; return the seconds from the queue to each arrival."""
    begun: dict[str, float] = {}
    took: list[float] = []

    def take(claims: dict[str, Any]) -> Reply:
        took.append(time.perf_counter() - begun[claims["jti"]])
        return ACCEPTED

    with Receiver(take) as well, Receiver(lambda _: HANG) as hangs:
        with store.begin() as conn:
            for number in range(STREAMS):
                url = hangs.url if hanging and number == 0 else well.url
                streams.add(conn, store.sealer, stream(f"s-{hanging}-{number}", url))
        settings = TransmitterSettings(allow_insecure=True, push_timeout_s=10)
        notifier, metrics = Notifier(), TransmitterMetrics(CollectorRegistry())
        pushing = PushDelivery(store, settings, notifier, metrics, now_ms, Random(1))
        working = asyncio.create_task(pushing.run())
        await asyncio.sleep(3)
        for turn in range(2 * SECONDS):
            for number in range(STREAMS):
                token = numbered("lane", turn, f"s-{hanging}-{number}")
                begun[token.jti] = time.perf_counter()
                await asyncio.to_thread(_put, store, token)
                notifier.notify([token.stream_id])
                await asyncio.sleep(0.5 / STREAMS - 0.001)
        await asyncio.sleep(2)
        pushing.stop()
        await working
    return took


def _put(store: Store, token: Any) -> None:
    with store.begin() as conn:
        queue.put(conn, [token], now_ms())


def hundred() -> None:
    """What one receiver that hangs costs the others."""
    for hanging in (False, True):
        with a_store() as (store, _, _):
            took = asyncio.run(pushed(store, hanging=hanging))
        which = "one of which hangs, the others" if hanging else "all well"
        print(f"{STREAMS} streams, {which}: queue to receiver {spread(took)} ({len(took):,})")


def spread(seconds: list[float]) -> str:
    """p50, p99 and the worst, in ms."""
    cuts = quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, worst {max(seconds) * 1000:.0f} ms"


def main() -> None:
    """Measure what is asked for, and print."""
    asked = sys.argv[1:] or ["stored", "command", "hundred"]
    print(machine())
    if "stored" in asked:
        stored("RS256")
        stored("ES256")
    if "command" in asked and BROKER:
        commanded()
    if "hundred" in asked:
        hundred()


if __name__ == "__main__":
    main()
