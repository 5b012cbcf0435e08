"""What a load takes: sums that can be done by hand, whole answers of the command, a page that is current."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline import cli
from pipeline.kafka.topics import STAGES
from pipeline.offline.capacity import plan as capacity_plan
from pipeline.offline.capacity.figures import FIGURES, KINDS, MIB, OUTPUTS, SIZES, Written, value
from pipeline.offline.capacity.plan import MOST_PARTITIONS, REMEDIES, Demand, Disk, Network, plan
from pipeline.offline.docs.capacity_page import CAPACITY, EVENTS, SESSIONS, markdown
from pipeline.settings.loading import Settings
from schemas.topics import TOPICS

ROOT = Path(__file__).parent.parent.parent
SMALL = Demand(10_000, 1_000_000)


THEN = {
    "worker_events": 23_700,
    "session_memory": 596,
    "device_memory": 3_613,
    "principal_memory": 15_518,
    "worker_memory": 269 * MIB,
    "strings_memory": 69 * MIB,
}
ROWS_THEN = {
    "session": Written(0.975, 597),
    "device": Written(0.133, 1_120),
    "principal": Written(0.021, 2_308),
    "network": Written(0.003, 465),
}
RECORDS_THEN = {
    "network-activity": Written(0.0032, 331),
    "principal-activity": Written(0.0226, 494),
    "session-bindings": Written(0.0029, 271),
    "session-context": Written(0.1420, 599),
    "session-features": Written(0.0185, 1_566),
    "session-findings": Written(0.0028, 1_927),
    "session-revocations": Written(0.0001, 650),
    "session-risk": Written(0.0028, 1_306),
}


@pytest.fixture
def as_measured_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums of these tests were made by hand with these figures, whatever is measured now."""
    for name, then in THEN.items():
        monkeypatch.setitem(FIGURES, name, FIGURES[name]._replace(value=then))
    for table, by_key in ((KINDS, ROWS_THEN), (OUTPUTS, RECORDS_THEN)):
        for name, written in by_key.items():
            monkeypatch.setitem(table, name, written)
    monkeypatch.setattr(capacity_plan, "CHUNK", 512)


def _run(arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["capacity", *arguments.split()])


# --- The table of figures


def test_every_figure_names_a_measurement_there_is() -> None:
    commands = {figure.measured_by for figure in FIGURES.values() if figure.what != FIGURES["record_framing"].what}

    scripts = [word for text in (*commands, SIZES) for word in shlex.split(text) if word.endswith((".py", ".sh"))]

    assert len(scripts) >= 5
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_what_is_written_for_an_event_is_told_of_every_stage_and_of_topics_there_are() -> None:
    assert sorted(KINDS) == sorted(STAGES)
    assert {TOPICS[topic].direction for topic in OUTPUTS} == {"internal", "output"}


def test_every_figure_is_used_and_more_than_nothing() -> None:
    assert [name for name, figure in FIGURES.items() if figure.value <= 0] == []


def test_partitions_end_where_the_setting_does() -> None:
    (limit,) = (item.le for item in Settings.model_fields["partitions"].metadata if hasattr(item, "le"))

    assert limit == MOST_PARTITIONS


# --- The sums


@pytest.mark.usefixtures("as_measured_then")
def test_bandwidth_is_what_an_event_and_all_that_follows_from_it_weigh() -> None:
    found = plan(SMALL).network

    produced = 10_000 * (559 + 36 + 10) / 1e6
    internal = 0.0032 * 341 + 0.0226 * 504 + 0.0029 * 281 + 0.1420 * 609
    commanded = 10_000 * (internal + 0.0185 * 1576 + 0.0028 * 1937 + 0.0001 * 660 + 0.0028 * 1316) / 1e6
    here = 1_000_000 / 64
    touched = here * (1 - (1 - 1 / here) ** 512) / 512
    changelog = 10_000 * (touched * 607 + 0.133 * 1130 + 0.021 * 2318 + 0.003 * 475) / 1e6
    written = produced + commanded + changelog
    read = produced + commanded + 10_000 * internal / 1e6
    network = Network(produced, commanded, changelog, written, 2 * written, read)
    assert found == pytest.approx(network)


@pytest.mark.usefixtures("as_measured_then")
def test_disk_is_what_retention_keeps_and_what_compaction_has_not_yet_taken() -> None:
    found = plan(SMALL).disk

    day = 10_000 * 86_400 * 3 / 1e9
    internal = 0.0032 * 341 + 0.0226 * 504 + 0.0029 * 281 + 0.1420 * 609
    month = 30 * (0.0185 * 1576 + 0.0028 * 1937 + 0.0028 * 1316) + 7 * 0.0001 * 660
    state = 1_000_000 * (607 + 1130 + 2318) / (1 - 0.3) * 3 / 1e9
    assert found == pytest.approx(Disk(7 * day * 605, day * (internal + month), state))


@pytest.mark.usefixtures("as_measured_then")
def test_the_memory_of_a_worker_is_that_of_the_partitions_it_may_have() -> None:
    found = plan(SMALL)

    sessions = 1_000_000 / 64 * 7  # 64 partitions, ten workers: some have seven
    assert (found.partitions, found.workers) == (64, 10)
    assert found.worker_memory_gib * 2**30 == pytest.approx((269 + 69) * 2**20 + sessions * (596 + 3_613 + 15_518))


def test_rows_of_sessions_are_as_many_as_were_measured() -> None:
    here = 10_000

    assert here * (1 - (1 - 1 / here) ** 512) / 512 == pytest.approx(KINDS["session"].records, abs=0.001)


@pytest.mark.parametrize("events", EVENTS)
def test_more_sessions_never_take_less(events: int) -> None:
    plans = [plan(Demand(events, sessions)) for sessions in (1, *SESSIONS)]

    for less, more in pairwise(plans):
        assert (less.partitions, less.brokers, less.disk.changelog) <= (
            more.partitions,
            more.brokers,
            more.disk.changelog,
        )
        assert less.workers <= more.workers
        assert less.worker_memory_gib * less.workers <= more.worker_memory_gib * more.workers


@pytest.mark.parametrize("sessions", SESSIONS)
@pytest.mark.parametrize("events", EVENTS)
def test_every_plan_of_the_page_fits_and_says_first_what_runs_out_first(events: int, sessions: int) -> None:
    found = plan(Demand(events, sessions))

    assert found.fits
    assert sorted((use.share for use in found.uses), reverse=True) == [use.share for use in found.uses]
    assert {use.resource for use in found.uses} == set(REMEDIES)
    assert found.workers <= found.partitions <= MOST_PARTITIONS


@pytest.mark.usefixtures("as_measured_then")
def test_workers_are_added_until_the_busiest_has_time_enough() -> None:
    even = plan(Demand(1_000_000, 1_000_000, skew=replace(SMALL.skew, exponent=0.0)))
    uneven = plan(Demand(1_000_000, 1_000_000))

    assert even.workers < uneven.workers
    for found in (even, uneven):
        assert 1_000_000 * found.spread.worker / value("worker_events") <= 0.9


def test_a_session_that_is_more_than_a_worker_does_fits_nowhere() -> None:
    found = plan(Demand(1_000_000, 1_000_000, skew=replace(SMALL.skew, exponent=1.2)))

    assert not found.fits
    assert [use.resource for use in found.uses[:2]] == ["the busiest worker", "the busiest session"]
    assert found.uses[1].share > 1


# --- The command


@pytest.mark.usefixtures("as_measured_then")
def test_the_command_tells_all_of_it() -> None:
    done = _run("--events 10000 --sessions 1000000")

    assert done.exit_code == 0
    assert [line.rstrip() for line in done.stdout.splitlines()] == TOLD.strip("\n").splitlines()


@pytest.mark.usefixtures("as_measured_then")
def test_as_json_it_tells_the_same_to_a_program() -> None:
    done = _run("--events 10000 --sessions 1000000 --json")

    assert done.exit_code == 0
    uses = [{**use, "remedy": REMEDIES[use["resource"]]} for use in JSON["uses"]]
    assert json.loads(done.stdout) == {**JSON, "uses": uses}


def test_a_load_that_does_not_fit_is_an_answer_of_no() -> None:
    done = _run("--events 1000000 --sessions 1000000 --zipf 1.2")

    assert done.exit_code == 1
    assert "the busiest session" in done.stdout


def test_a_worker_without_memory_for_itself_is_told_in_a_sentence() -> None:
    done = _run("--events 1 --sessions 1 --memory-gib 0.5")

    assert done.exit_code == 2
    assert done.stderr == (
        "session-risk: 0.5 GiB, of which 60% are planned with, do not hold a worker without sessions "
        "(0.33 GiB): give it more\n"
    )


# --- The page


def test_the_page_is_current() -> None:
    assert CAPACITY.read_text("utf-8") == markdown(), "run `make docs`"


TOLD = """
partitions         64
workers            10, one core and 2.3 GiB each
brokers            3 at least
producers write    6.0 MB/s
workers write      8.0 MB/s of state, 1.4 MB/s besides
brokers copy       30.8 MB/s to each other
read               8.4 MB/s by workers and one reader
compaction         reads 26.6 MB/s of changelogs
disk               14.2 TB kept by retention, 17 GB of state, all copies
hottest partition  45: 3.11% of all, 2.0 times even
busiest worker     12.37% of all, 1.2 times even

what runs out first
resource                 used  when it is too much
a worker's memory         58%  Give each worker more, or add workers; end sessions sooner, by a
                               shorter `idle_s` in the policy.
sessions in a partition    8%  Raise `SESSION_RISK_MAX_SESSIONS_PER_PARTITION` if memory allows,
                               else a new set of topics with more partitions; else the longest idle
                               are evicted.
the busiest worker         5%  Add workers, up to one for each partition; the busy partitions then
                               share theirs with fewer.
a broker's network         1%  Add brokers and move partitions to them; have producers compress.
partitions                 1%  A worker has one at least, and there are at most 1,024: give workers
                               more memory, so that fewer do, or split tenants over installations
                               with topics of their own.
the busiest session        1%  Cap its calls at the gateway: the records of one session are worked
                               on one by one.
"""

JSON: dict[str, Any] = {
    "demand": {
        "events": 10000.0,
        "sessions": 1000000,
        "replication": 3,
        "used": 0.6,
        "memory_gib": 4.0,
        "broker_mb": 1250.0,
        "skew": {"sessions": 100000, "tenant_traffic": 0.3, "tenant_sessions": 0.05, "exponent": 0.8},
    },
    "partitions": 64,
    "workers": 10,
    "brokers": 3,
    "worker_memory_gib": 2.33954,
    "network": {
        "produced": 6.05,
        "commanded": 1.38105,
        "changelog": 7.97574,
        "written": 15.4068,
        "copied": 30.8136,
        "read": 8.42879,
    },
    "disk": {"inputs": 10977.1, "outputs": 3235.25, "changelog": 17.3786},
    "cleaner_mb": 26.5858,
    "spread": {
        "partitions": 64,
        "workers": 10,
        "hottest_partition": 45,
        "partition": 0.031115,
        "of_tenant": 0.190836,
        "worker": 0.12368,
        "session": 0.0155375,
    },
    "uses": [
        {"resource": "a worker's memory", "share": 0.584884},
        {"resource": "sessions in a partition", "share": 0.078125},
        {"resource": "the busiest worker", "share": 0.0521856},
        {"resource": "a broker's network", "share": 0.0123254},
        {"resource": "partitions", "share": 0.00976562},
        {"resource": "the busiest session", "share": 0.00655592},
    ],
    "fits": True,
}
