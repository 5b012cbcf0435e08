"""A session of your own on Kafka: a healthy phone, a sign-in, the phone jailbroken; prints the command that follows."""

from __future__ import annotations

import asyncio
import json
from time import time
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

BROKER = "127.0.0.1:9092"


def events(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Topic, key and value of each event of a session called *name*; change them to yours."""
    session, phone = f"session-{name}", f"phone-{name}"
    sign_in = {"type": "auth.event", "action": "sign_in", "session_id": session, "device_id": phone}
    report = {"type": "device.telemetry", "device_id": phone, "platform": "ios"}
    return [
        ("device-telemetry", phone, {**report, "rooted": False}),
        ("auth-events", session, {**sign_in, "principal_id": "ana", "principal_kind": "human"}),
        ("device-telemetry", phone, {**report, "rooted": True}),
    ]


async def main() -> None:
    """Send the events a second apart, then print the first command about their session."""
    name = uuid4().hex[:8]
    consumer = AIOKafkaConsumer("session-revocations", bootstrap_servers=BROKER)
    producer = AIOKafkaProducer(bootstrap_servers=BROKER)
    async with consumer, producer:
        for number, (topic, key, event) in enumerate(events(name)):
            event |= {"event_id": f"{name}-{number}", "occurred_at": int(time() * 1000)}
            await producer.send_and_wait(topic, json.dumps(event).encode(), key.encode())
            await asyncio.sleep(1)
        async for record in consumer:
            if record.key == f"session-{name}".encode():
                print(json.dumps(json.loads(record.value), indent=2))
                return


if __name__ == "__main__":
    asyncio.run(main())
