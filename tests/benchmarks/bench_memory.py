"""What a session costs in memory: the whole process's growth for 200,000 sessions, divided by them."""

from __future__ import annotations

import ctypes
import gc
import json
import os
from pathlib import Path

from models.artefacts import SHIPPED, load
from models.events.columns import Columns
from pipeline.control.active import ActiveConfig
from pipeline.sessions.processor import Options, SessionProcessor
from tests.benchmarks.load import START_MS, Sent, calls, session_id
from tests.benchmarks.machine import machine

SESSIONS = 200_000
CHUNK = 512


def resident() -> int:
    """Bytes of this process that are in memory (Linux), once the C library gave back what it holds free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def one_each(first: int, last: int) -> list[Sent]:
    """One call in each session from *first* to *last*."""
    (model,) = calls(1, 1)
    event = json.loads(model.value)
    records = []
    for number in range(first, last):
        event |= {
            "session_id": session_id(number),
            "event_id": f"evt-{number:016x}",
            "principal_id": f"user-{number // 2:07d}",
            "device_id": f"device-{number // 2:07d}",
            "occurred_at": START_MS + number // 20,
            "token_id": f"tok-{number:012x}",
        }
        value = json.dumps(event, separators=(",", ":")).encode()
        records.append(Sent("api-calls", 0, number, START_MS, session_id(number).encode(), value))
    return records


def main() -> None:
    """Measure."""
    print(machine())
    active = ActiveConfig(detector=load(SHIPPED / "default"))
    now, columns = START_MS + 3_600_000, Columns(bytes(16))
    fill(SessionProcessor(active, columns, Options()), 0, 1_000, now)
    start = resident()
    first = SessionProcessor(active, columns, Options())
    fill(first, 0, SESSIONS, now)
    before = resident()
    stage = SessionProcessor(active, columns, Options())  # the same sessions: the memory of strings does not grow again
    fill(stage, 0, SESSIONS, now)
    grown = (resident() - before) / len(stage.table)
    strings = before - start - grown * len(first.table)
    print(f"a worker's memory of strings, bounded: {strings / 2**20:,.0f} MiB when full")
    table = stage.table.nbytes / len(stage.table)
    print(
        f"{len(stage.table):,} sessions: {grown:,.0f} B a session in the process, {table:,.0f} B in the table's own count"
    )
    print(f"    a session with a case (evidence, command sent): {case_cost(stage, now):,.0f} B more")


def fill(stage: SessionProcessor, first: int, last: int, now: int) -> None:
    """Open sessions, a slice at a time so that the events themselves do not count."""
    for start in range(first, last, 10_240):
        records = one_each(start, min(start + 10_240, last))
        for at in range(0, len(records), CHUNK):
            stage.process("api-calls", records[at : at + CHUNK], now)


def case_cost(stage: SessionProcessor, now: int, count: int = 2_000) -> float:
    """Bytes that *count* revoked sessions grew by, each."""
    before = resident()
    for start in range(0, count, CHUNK):
        records = []
        for number in range(start, min(start + CHUNK, count)):
            event = {
                "event_id": f"event-{number}",
                "type": "session.context",
                "occurred_at": START_MS + 60_000,
                "tenant": "acme",
                "session_id": session_id(number),
                "source": "device",
                "heard_at": START_MS + 60_000,
                "rooted": True,
            }
            value = json.dumps(event).encode()
            records.append(Sent("session-context", 0, number, now, session_id(number).encode(), value))
        stage.process("session-context", records, now)
    return (resident() - before) / count


if __name__ == "__main__":
    main()
