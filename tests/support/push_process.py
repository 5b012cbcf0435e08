"""A process that pushes and keeps house in the store it is given, for tests that kill it: URL KEY_FILE.

Its settings come from the environment. It says `pushing` when it has the lead, and ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.housekeeping import Housekeeper
from pipeline.transmitter.delivery.push import PushDelivery
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.store.database import open_store
from pipeline.transmitter.store.encryption import load
from pipeline.transmitter.store.leader_election import lead
from pipeline.transmitter.store.signing_keys import open_signer


async def main(url: str, key_file: str) -> None:
    """Push until told to stop."""
    store = open_store(url, load(Path(key_file)))
    with lead(store) as leads:
        if not leads:
            raise SystemExit("another process pushes from this store")
        settings, notifier, metrics = TransmitterSettings(), Notifier(), TransmitterMetrics(CollectorRegistry())
        rng = Random()  # noqa: S311 - jitter is no secret
        pushing = PushDelivery(store, settings, notifier, metrics, clock, rng)
        signer = open_signer(store, "ES256", 2048, clock())
        keeping = Housekeeper(store, signer, settings, notifier, metrics, clock)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _stop, pushing, keeping)
        print("pushing", flush=True)
        await asyncio.gather(pushing.run(), keeping.run())


def _stop(*parts: PushDelivery | Housekeeper) -> None:
    for part in parts:
        part.stop()


def clock() -> int:
    """Now, ms."""
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
