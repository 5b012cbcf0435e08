"""How much is written for an event, and what a device or principal costs in memory. No broker.

Two streams go through all stages of one partition: the calls the other benchmarks send, and simulated days of
people, devices and agents, a few of them under attack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from models.artefacts import SHIPPED, load, load_roles
from pipeline.assembly import processor_specs
from pipeline.contexts.keyed_processor import encode_row, row_body
from pipeline.control.active import ActiveConfig
from pipeline.decisions.policy import read_policy
from pipeline.kafka import app
from pipeline.offline.replay.recording import InputRecord
from pipeline.offline.replay.runner import Replay
from pipeline.offline.simulation import simulate
from pipeline.processing.processor import Outcome
from pipeline.sessions.processor import Options
from schemas.decode import encode
from tests.benchmarks.bench_memory import resident
from tests.benchmarks.load import Sent, calls
from tests.benchmarks.machine import machine

SESSIONS = 10_000
PEOPLE = 100
COPIES = 20_000


class Weighed(Replay):
    """A replay that counts what it writes to changelogs."""

    def weigh(self, records: Iterable[InputRecord]) -> None:
        """Play *records*, and count what they make the stages write."""
        self.rows, self.row_bytes = Counter[str](), Counter[str]()
        self.messages, self.message_bytes, self.read = Counter[str](), Counter[str](), [0, 0]
        for message in self.run(self._counted(records)):
            self.messages[message.topic] += 1
            self.message_bytes[message.topic] += len(message.key or b"") + len(message.value)

    def _counted(self, records: Iterable[InputRecord]) -> Iterator[InputRecord]:
        for record in records:
            self.read = [self.read[0] + 1, self.read[1] + len(record.value)]
            yield record

    def _store(self, task: tuple[str, int], outcome: Outcome, now_ms: int) -> None:
        self.rows[task[0]] += len(outcome.rows)
        self.row_bytes[task[0]] += sum(len(key) + len(value or b"") for key, value in outcome.rows)
        super()._store(task, outcome, now_ms)


def report(name: str, stages: Weighed) -> None:
    """Print what was counted, for an event."""
    events, size = stages.read
    print(f"{name}: {events:,} events of {size / events:.0f} B")
    for kind, rows in sorted(stages.rows.items()):
        if rows:
            print(
                f"    changelog of {kind:<10} {rows / events:6.3f} rows an event, {stages.row_bytes[kind] / rows:6.0f} B a row; "
                f"kept now: {held(stages, kind)}"
            )
    for topic, count in sorted(stages.messages.items()):
        print(
            f"    {topic:<20} {count / events:8.4f} records an event, {stages.message_bytes[topic] / count:6.0f} B a record"
        )


def held(stages: Weighed, kind: str) -> str:
    """How many rows the changelog of a kind holds in the end, and their mean size."""
    rows: Sequence[tuple[bytes, bytes]] = [
        pair for place, part in stages.state.items() if place[0] == kind for pair in part.items()
    ]
    return f"{len(rows):,} of {sum(len(key) + len(value) for key, value in rows) / max(1, len(rows)):.0f} B"


def remembered(stages: Weighed, kind: str) -> float:
    """Bytes of memory that one of *kind* takes: a stage reads back copies of what the day left of them."""
    rows = [pair for place, part in stages.state.items() if place[0] == kind for pair in part.items()]
    (made,) = (spec for spec in stages.specs if spec.name == kind)
    copies = [_copy(*rows[n % len(rows)], n) for n in range(COPIES)]
    stage, before = made.create(0), resident()
    stage.restore(copies)
    return (resident() - before) / COPIES


def _copy(key: bytes, value: bytes, number: int) -> tuple[bytes, bytes]:
    """The same row under another key: its checksum is of both."""
    own = key + b"-%d" % number
    return own, encode_row(own, row_body(value))


def main() -> None:
    """Measure."""
    print(f"{machine()}; with {app.__name__}, as a worker has it")
    active = ActiveConfig(detector=load(SHIPPED / "default"), roles=load_roles(SHIPPED / "default"))
    active.use_policy(read_policy(None))
    stages = Weighed(processor_specs(active, Options(event_clock=True)))
    stages.weigh(_recorded(calls(1_000, 100)))
    print(f"a worker with next to no session: {resident() / 2**20:,.0f} MiB")
    stages.weigh(_recorded(calls(5 * SESSIONS, SESSIONS, first=1_000)))
    stages.weigh(_recorded(calls(100_000, SESSIONS, seed=1, first=1_000 + 5 * SESSIONS)))
    report("calls", stages)
    days = Weighed(processor_specs(active, Options(event_clock=True)))
    world = simulate(301, 24.0, PEOPLE, attack_share=0.01)
    days.weigh(InputRecord(topic, n, encode(event), event["occurred_at"]) for n, (topic, event) in enumerate(world))
    report(f"a simulated day of {PEOPLE} people", days)
    for kind in ("device", "principal"):
        print(f"memory of a {kind}: {remembered(days, kind):,.0f} B")


def _recorded(sent: Iterable[Sent]) -> Iterator[InputRecord]:
    return (InputRecord(this_sent.topic, this_sent.offset, this_sent.value, this_sent.timestamp) for this_sent in sent)


if __name__ == "__main__":
    main()
