"""More calls than a worker can do, and how soon a stolen session is revoked meanwhile.

A backlog of calls waits when the worker starts, some seconds of its full work. While it is worked off, refresh tokens
are used a second time, ten a second. Printed: how far behind the calls are, and how long a command takes meanwhile.
Needs SESSION_RISK_BROKER.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from statistics import quantiles

import aiokafka

from tests.benchmarks.bench_kafka import BACKLOG, BROKER, Probe, metric, preload, series, wait_for, worker
from tests.benchmarks.machine import machine

EVERY = 0.1
MOST_SECONDS = 60


class Reuse(Probe):
    """Sessions whose refresh token is presented again, as the identity provider tells."""

    def reuse_event(self, number: int) -> tuple[bytes, bytes]:
        """One such event, now."""
        name = f"{self.name}-{number}"
        self.sent[name] = time.perf_counter()
        event = {
            "type": "auth.event",
            "event_id": f"{name}-e",
            "occurred_at": int(time.time() * 1000),
            "tenant": "acme",
            "session_id": name,
            "principal_id": name,
            "principal_kind": "human",
            "ip": "192.0.2.1",
            "asn": 64500,
            "action": "token_reused",
        }
        return name.encode(), json.dumps(event).encode()


async def probed() -> tuple[list[float], list[float]]:
    """Seconds from each event to its command while calls wait, and how far behind the calls were."""
    probe, lags = Reuse(0), []
    listening = asyncio.create_task(probe.listen())
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=BROKER, acks=1)
    await producer.start()
    for number in range(int(MOST_SECONDS / EVERY)):
        if metric("session_risk_events_total") >= BACKLOG:
            break
        key, value = probe.reuse_event(number)
        await producer.send_and_wait("auth-events", value=value, key=key)
        lags.append(oldest_lag())
        await asyncio.sleep(EVERY)
    await asyncio.sleep(3)
    await producer.stop()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    if probe.sent:
        print(f"    {len(probe.sent)} commands did not come within three seconds")
    return probe.took, lags


def oldest_lag() -> float:
    """How far behind the calls are in the partition that is worst, seconds, by the worker's own word."""
    return max(series("session_risk_lag_seconds", 'topic="api-calls"'), default=0.0)


def main() -> None:
    """Measure and print."""
    print(machine())
    with worker(f"overload-{os.getpid()}-topics"):
        asyncio.run(preload(BACKLOG))
    with worker(f"overload-{os.getpid()}") as process:
        wait_for(process, BACKLOG / 20)
        took, lags = asyncio.run(probed())
    cuts = quantiles(took, n=100)
    print(f"{BACKLOG:,} calls wait; they are {max(lags):.0f} s behind at worst, {min(lags):.0f} s at best")
    print(f"refresh token used again → command received: p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s ({len(took)})")


if __name__ == "__main__":
    main()
