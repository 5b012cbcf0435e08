"""The transmitter's intake beside a receiver that took many subjects out of its stream, and goes on taking out more.

A batch is 200 revocations of 200 people; before each the receiver takes one more subject out. Needs nothing.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from pipeline.transmitter.protocol import Stream, SubjectForm
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.tokens.builder import DecodedRecord, TokenBuilder
from pipeline.transmitter.tokens.subjects import Subjects
from schemas.topics import SESSION_REVOCATIONS
from tests.benchmarks.bench_core import Clock
from tests.benchmarks.bench_transmitter import BATCH, ISSUER, a_store, command, now_ms, stream
from tests.benchmarks.machine import machine

COUNTS = (0, 100, 10_000, 100_000)
BATCHES = 15
FORMS: tuple[SubjectForm, ...] = ("iss_sub", "complex")


def subject(number: int) -> dict[str, Any]:
    """Somebody of whom nothing happens: a user, or a session of theirs."""
    user = {"format": "iss_sub", "iss": ISSUER, "sub": f"gone-{number}"}
    if number % 2:
        return user
    return {"format": "complex", "user": user, "session": {"format": "opaque", "id": f"s-gone-{number}"}}


def take_out(store: Store, numbers: range) -> None:
    """The receiver takes some out."""
    with store.begin() as conn:
        for number in numbers:
            streams.set_subject(conn, "s-1", subject(number), included=False)


def taken(form: SubjectForm, count: int) -> None:
    """Take batches beside a stream that lacks *count* subjects."""
    with a_store("ES256") as (store, signer, _):
        members = {name: getattr(stream("s-1", ISSUER), name) for name in Stream.__dataclass_fields__}
        with store.begin() as conn:
            streams.add(conn, store.sealer, Stream(**{**members, "subject_form": form}))
        take_out(store, range(count))
        token_builder = TokenBuilder(store, signer, Subjects.load(None), ISSUER)
        clock = Clock(time.process_time)
        clock.wrap(signer, "sign_many", "signing")
        took: list[float] = []
        for batch in range(BATCHES):
            if count:
                take_out(store, range(count + batch, count + batch + 1))
            decoded_records = [
                DecodedRecord(SESSION_REVOCATIONS, command(number))
                for number in range(batch * BATCH, (batch + 1) * BATCH)
            ]
            begun, signed = time.process_time(), clock.spent.get("signing", 0.0)
            token_builder.build(decoded_records, now_ms())
            took.append(time.process_time() - begun - (clock.spent["signing"] - signed))
    print(
        f"{form}, {count:,} taken out: {median(took) * 1000:.1f} ms of processor time a batch beside signing, {max(took) * 1000:.1f} at most"
    )


def main() -> None:
    """Measure them in turn."""
    print(machine())
    for form in FORMS:
        for count in COUNTS:
            taken(form, count)


if __name__ == "__main__":
    main()
