"""The page deploy/CAPACITY.md: measured figures, what loads take, what runs out, how uneven load is.

``python -m pipeline.offline.docs.generate`` writes it, a test holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.offline.capacity.figures import FIGURES, KINDS, MACHINE, MIB, OUTPUTS, SIZES, Figure
from pipeline.offline.capacity.plan import REMEDIES, Demand, Plan, plan
from pipeline.offline.capacity.skew import Skew, spread

CAPACITY: Final = Path(__file__).parents[3] / "deploy" / "CAPACITY.md"
"""The page."""
EVENTS: Final = (10_000, 100_000, 1_000_000)
SESSIONS: Final = (1_000_000, 10_000_000, 100_000_000)
EXPONENTS: Final = (0.0, 0.5, 0.8, 1.0)
SPREADS: Final = ((8, 2), (64, 12), (512, 100))
"""Partitions and workers whose load is told."""


def amounts(answer: Plan) -> list[tuple[str, str]]:
    """What a plan comes to, by name."""
    network, disk, load = answer.network, answer.disk, answer.spread
    kept = _tb(disk.inputs + disk.outputs)
    return [
        ("partitions", f"{answer.partitions:,}"),
        ("workers", f"{answer.workers:,}, one core and {answer.worker_memory_gib:.1f} GiB each"),
        ("brokers", f"{answer.brokers:,} at least"),
        ("producers write", f"{network.produced:,.1f} MB/s"),
        ("workers write", f"{network.changelog:,.1f} MB/s of state, {network.commanded:,.1f} MB/s besides"),
        ("brokers copy", f"{network.copied:,.1f} MB/s to each other"),
        ("read", f"{network.read:,.1f} MB/s by workers and one reader"),
        ("compaction", f"reads {answer.cleaner_mb:,.1f} MB/s of changelogs"),
        ("disk", f"{kept} kept by retention, {_tb(disk.changelog)} of state, all copies"),
        (
            "hottest partition",
            f"{load.hottest_partition}: {load.partition:.2%} of all, {load.times_even:.1f} times even",
        ),
        ("busiest worker", f"{load.worker:.2%} of all, {load.worker_times_even:.1f} times even"),
    ]


def markdown() -> str:
    """The whole page."""
    plans = [plan(Demand(events, sessions)) for events in EVENTS for sessions in SESSIONS]
    parts = (_HEAD, _figures(), _PLANS, _plans(plans), _FIRST, _first(plans), _SKEW, _skew(), _LIMITS)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _figures() -> str:
    rows = [(figure.what, _amount(figure), f"`{figure.measured_by}`") for figure in FIGURES.values()]
    rows += [
        (
            f"changelog rows of {kind} stages",
            f"{written.records:g} an event, {written.bytes:,.0f} B each",
            f"`{SIZES}`",
        )
        for kind, written in KINDS.items()
    ]
    rows += [
        (f"records on `{topic}`", f"{written.records:g} an event, {written.bytes:,.0f} B each", f"`{SIZES}`")
        for topic, written in OUTPUTS.items()
    ]
    return table(("figure", "measured", "by"), rows)


def _amount(figure: Figure) -> str:
    if figure.value >= MIB:
        return f"{figure.value / MIB:,.0f} MiB"
    return f"{figure.value:,.0f} {figure.unit}"


def _plans(plans: Sequence[Plan]) -> str:
    head = (
        "events/s",
        "live sessions",
        "partitions",
        "workers",
        "GiB a worker",
        "brokers",
        "written MB/s",
        "of it state",
        "copied MB/s",
        "read MB/s",
        "kept by retention",
        "state on disk",
    )
    rows = [
        (
            f"{this_plan.demand.events:,}",
            f"{this_plan.demand.sessions:,}",
            f"{this_plan.partitions:,}",
            f"{this_plan.workers:,}",
            f"{this_plan.worker_memory_gib:.1f}",
            this_plan.brokers,
            f"{this_plan.network.written:,.0f}",
            f"{this_plan.network.changelog:,.0f}",
            f"{this_plan.network.copied:,.0f}",
            f"{this_plan.network.read:,.0f}",
            _tb(this_plan.disk.inputs + this_plan.disk.outputs),
            _tb(this_plan.disk.changelog),
        )
        for this_plan in plans
    ]
    return table(head, rows)


def _first(plans: Sequence[Plan]) -> str:
    rows = []
    for this_plan in plans:
        first, second = this_plan.uses[:2]
        named = f"{this_plan.demand.events:,}", f"{this_plan.demand.sessions:,}"
        rows.append((*named, _used(first.resource, first.share), _used(second.resource, second.share)))
    remedies = table(("when it runs out", "what to do"), REMEDIES.items())
    return table(("events/s", "live sessions", "first", "then"), rows) + "\n\n" + remedies


def _used(resource: str, share: float) -> str:
    return f"{resource}, {share:.0%}" if share <= 1 else f"**{resource}, {share:.0%}: does not fit**"


def _skew() -> str:
    rows = []
    for exponent in EXPONENTS:
        for partitions, workers in SPREADS:
            load = spread(Skew(exponent=exponent), partitions, workers)
            rows.append(
                (
                    f"{exponent:g}",
                    partitions,
                    workers,
                    f"{load.session:.2%}",
                    load.hottest_partition,
                    f"{load.partition:.2%}",
                    f"{load.times_even:.1f}",
                    f"{load.of_tenant:.0%}",
                    f"{load.worker_times_even:.1f}",
                )
            )
    head = (
        "s",
        "partitions",
        "workers",
        "busiest session",
        "hottest partition",
        "its share",
        "times even",
        "of it the large tenant's",
        "busiest worker, times even",
    )
    return table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(str(cell) for cell in line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _tb(gigabytes: float) -> str:
    return f"{gigabytes / 1_000:,.1f} TB" if gigabytes >= 1_000 else f"{gigabytes:,.0f} GB"


_HEAD: Final = f"""
# Capacity

What a load takes, computed by `session-risk capacity` from measured figures; `make docs` writes this page
anew. Nothing here was run at this size: it is arithmetic over figures of {MACHINE}. Measure them on your
own machines and put them into [pipeline/offline/capacity/figures.py](../pipeline/figures.py) before you buy any.

```
session-risk capacity --events 100000 --sessions 10000000
```

## Measured
"""
_PLANS: Final = f"""
## What loads take

Three copies of every topic; {Demand(1, 1).used:.0%} of a worker's time and of its {
    Demand(1, 1).memory_gib:g} GiB, and of a broker's network ({Demand(1, 1).broker_mb:,.0f} MB/s each way), are planned
with: the rest is for peaks, for catching up and for the work of a worker that fell. More workers are
added until the busiest, by the skew below, is at work for nine tenths of its time. `read` has the workers
and one reader of what leaves. Inputs and outputs are kept as long as their topics say (`session-risk
schemas`); state on disk is what is live and what compaction has not yet taken away.
"""
_FIRST: Final = """
## What runs out first

How much of each is used by the plan above; 100 % is all there is.
"""
_SKEW: Final = """
## How uneven it is

100,000 sessions, of which one tenant has a twentieth and 30 % of the traffic; in each tenant the n-th
busiest session does 1/nˢ of what the first does. A session's partition is murmur2 of its id, a
partition's worker its number modulo the workers. With s = 0 all sessions of a tenant are alike. A large
tenant by itself does no harm, as its sessions lie in all partitions; single sessions do. With more live
sessions than these the first has a smaller share.
"""
_LIMITS: Final = """
## What this leaves out

- Memory counts a device and a principal of its own for each live session; people with two sessions need
  less. What is known of principals without a live session comes on top.
- A worker's rate was measured beside a busy broker on two cores, with calls only. A worker with a core of
  its own does more; a stream with much telemetry, whose context every session of the device hears, does
  less.
- How fast brokers write to disk, and compaction's own speed (`log.cleaner.threads`), are not measured
  here.
- Reading state back takes time: the more sessions a worker holds, the longer its partitions wait when it
  falls.
"""
