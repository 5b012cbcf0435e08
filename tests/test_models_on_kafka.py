"""The life of a model on Apache Kafka: promoted, gone back from, looking on, drifted from, and replayed.

Workers are processes as `session-risk worker` starts them; what they say of themselves is read from their
metrics. The topics may hold what others sent: each test has its own group, models and sessions, and begins at
their ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count, groupby
from pathlib import Path
from shutil import copytree
from threading import Event as Flag
from threading import Thread
from typing import Any, Self
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

import aiokafka
import pytest
from aiokafka import TopicPartition
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from models.artefact import CARD, load, save
from models.drift import LARGE, MODERATE, SCORE
from pipeline.brain import Brain
from pipeline.client import Writer, begin_at_end, retained, writing
from pipeline.connection import Connection
from pipeline.demo import WINDOW_MS
from pipeline.endings import Endings
from pipeline.kinds import stage_kinds
from pipeline.metrics import PREFIX
from pipeline.recorded import OUTPUT_TOPICS
from pipeline.recording import write
from pipeline.scenarios import Scenario, find_directory
from pipeline.scorer import Options
from pipeline.script import Timed, honest, in_order, steady, stories
from pipeline.stage import Message, Record
from pipeline.topic_admin import (
    NeededTopic,
    TopicsNotReadyError,
    check_topics,
    create_topics,
    needed_topics,
)
from playing import topic_of
from samples import T0, auth, call, telemetry
from schemas.decode import encode, record_key
from schemas.topics import (
    API_CALLS,
    DEAD_LETTERS,
    SESSION_CHALLENGES,
    SESSION_FEATURES,
    SESSION_FINDINGS,
    SESSION_REVOCATIONS,
    SESSION_RISK,
    SESSION_SHADOW,
)

pytestmark = pytest.mark.kafka

PARTITIONS = 8
PLACES = {str(partition) for partition in range(PARTITIONS)}
KINDS = stage_kinds(Brain(), Options())
SOURCES = [topic for kind in KINDS for topic in kind.sources]
EVERYWHERE = [TopicPartition(topic, partition) for topic in SOURCES for partition in range(PARTITIONS)]
PATIENCE = 40.0
"""Seconds within which anything that is waited for must have happened."""
CALM, ODD = 1e9, -1e9
"""Where a model's scale begins, so that nothing is odd to it, or everything."""
DEALT_WITH = (f"{PREFIX}events_total", f"{PREFIX}dead_letters_total")
HONEST = (60, 5_400_000)
"""So many people, and ms of their work, are what is normal."""

Named = dict[str, str]
Series = dict[tuple[str, ...], float]
"""What a metric tells, by the values of its labels in the order of their names."""


def _now() -> int:
    return int(time.time() * 1000)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


# --- Models -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of an hour and a half of honest work."""
    folder = tmp_path_factory.mktemp("trained")
    with write(folder / "recording") as writer:
        for topic, event in honest(*HONEST, T0):
            writer.event(topic, event)
    _session_risk({}, "train", str(folder / "recording"), "--out", str(folder / "model"), "--name", "learned")
    return folder / "model"


def _put(trained: Path, target: Path, odd_from: float) -> str:
    """Put *trained* into *target*, with what is odd on another scale; returns the model's id."""
    detector = load(trained)
    changed = replace(detector, name=target.name, knots=detector.knots + odd_from)
    card = json.loads((trained / CARD).read_text(encoding="utf-8"))
    files = {path.name: path.read_bytes() for path in trained.glob("*.npz") if path.name != "detector.npz"}
    kept = {name: card[name] for name in ("data", "fit", "thresholds", "metrics", "roles") if name in card}
    save(changed, target, kept, files)
    return changed.id


# --- Workers ----------------------------------------------------------------------------------------------


def _session_risk(settings: Named, *words: str) -> str:
    command = [sys.executable, "-m", "pipeline.cli", *words]
    done = subprocess.run(command, env=_environment(settings), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment(settings: Named) -> Named:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SESSION_RISK_")}
    return {**own, "PYTHONPATH": str(Path(__file__).parent.parent), **settings}


def _named(settings: Named) -> Named:
    return {f"SESSION_RISK_{name.upper()}": value for name, value in settings.items()}


class Worker:
    """A worker process and what its metrics tell."""

    def __init__(self, settings: Named, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log
        command = [sys.executable, "-m", "pipeline.cli", "worker"]
        environment = _environment({**settings, "SESSION_RISK_METRICS_PORT": str(self.port)})
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)

    def samples(self) -> list[Sample]:
        """All that its metrics tell; nothing while nobody answers."""
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except (URLError, ConnectionError, TimeoutError):
            return []
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def series(self, name: str) -> Series:
        """What the metric of this *name* tells."""
        return {
            tuple(sample.labels.values()): sample.value
            for sample in self.samples()
            if sample.name.removeprefix(PREFIX) == name
        }

    def done(self) -> float:
        """How many records it has dealt with, of all topics."""
        return sum(sample.value for sample in self.samples() if sample.name in DEALT_WITH)

    def partitions(self) -> set[str]:
        """The partitions whose sessions it holds."""
        return {partition for (partition,) in self.series("live_sessions")}

    def models(self) -> Series:
        """The models it uses, with their roles."""
        return self.series("model_info")

    def refused(self) -> Series:
        """The models that were ordered and that it cannot load."""
        return self.series("model_refused")

    def began_at(self) -> Series:
        """When its process began: another for another process."""
        return self.series("process_start_time_seconds")

    def drift(self) -> dict[str, float]:
        """How far each feature, and the score, has moved, as far as that can be said."""
        return {feature: psi for (feature,), psi in self.series("drift_psi").items()}

    def turn(self) -> None:
        """Return when it has shown all it has done so far: that happens about once a second."""
        for _ in range(2):  # the one under way may have begun before
            self._turn_after(self.series("heartbeat_timestamp_seconds"))

    def _turn_after(self, seen: Series) -> None:
        _until(lambda: self.series("heartbeat_timestamp_seconds") not in ({}, seen))

    def end(self) -> int:
        """Have it stop in order; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


class Life:
    """Workers of one group with models of their own, what is sent to them, and what they say of it."""

    def __init__(self, folder: Path, trained: Path) -> None:
        self.folder = folder
        self.suffix = f"-{uuid4().hex[:8]}"
        self.connection = Connection(os.environ["SESSION_RISK_BROKER"])
        self.calm, self.odd = f"calm{self.suffix}", f"odd{self.suffix}"
        self.calm_id = _put(trained, folder / "models" / self.calm, CALM)
        self.odd_id = _put(trained, folder / "models" / self.odd, ODD)
        self.settings = {
            "SESSION_RISK_BROKER": self.connection.bootstrap,
            "SESSION_RISK_APP_ID": f"models{self.suffix}",
            "SESSION_RISK_PARTITIONS": str(PARTITIONS),
            "SESSION_RISK_MODEL_DIR": str(folder / "models"),
            "SESSION_RISK_MODEL": self.calm,
            "SESSION_RISK_POLICY_FILE": str(folder / "policy.toml"),
            "SESSION_RISK_DATA_DIR": str(folder / "data"),
        }
        self.workers: list[Worker] = []
        self.orders: list[tuple[str, ...]] = []
        self.begun = 0
        self.ends: dict[TopicPartition, int] = {}

    def begin(self, policy: str = "", before: Sequence[Timed] = (), **settings: str) -> Worker:
        """Make the topics, and start a worker that reads what comes from now on, not what came *before*."""
        (self.folder / "policy.toml").write_text(policy, encoding="utf-8")
        self.settings |= _named(settings)
        asyncio.run(self._prepare(before))
        return self.start()

    async def _prepare(self, before: Sequence[Timed]) -> None:
        app_id = self.settings["SESSION_RISK_APP_ID"]
        needed = needed_topics(app_id, [kind.name for kind in KINDS], PARTITIONS)
        await create_topics(self.connection, needed, 1)
        await self._there(needed)
        async with writing(self.connection) as writer:
            await _send(writer, before)
        self.begun = _now() + 1
        await begin_at_end(self.connection, app_id, SOURCES)
        async with _reader(self.connection) as reader:
            self.ends = await reader.end_offsets(EVERYWHERE)

    async def _there(self, topics: Sequence[NeededTopic]) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await check_topics(self.connection, topics)
            except TopicsNotReadyError:  # a busy broker tells of a new topic a moment after it is made
                assert time.monotonic() < deadline, "waited in vain for the topics"
                await asyncio.sleep(0.1)

    def start(self, **settings: str) -> Worker:
        """Start one more worker, with *settings* of its own."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        self.workers.append(Worker({**self.settings, **_named(settings)}, log))
        return self.workers[-1]

    def order(self, *words: str) -> None:
        """Have `session-risk` do something."""
        self.orders.append(words)
        _session_risk(self.settings, *words)

    def play(self, *steps: Iterable[Timed]) -> None:
        """Send *steps*, the next when what the one before led to is done; return when all is."""

        async def one_by_one() -> None:
            async with writing(self.connection) as writer, _reader(self.connection) as reader:
                for step in steps:
                    await _send(writer, step)
                    await self._settled(reader)

        asyncio.run(one_by_one())

    def settle(self) -> None:
        """Return when all that was sent, and all it led to, is done."""
        self.play(())

    async def _settled(self, reader: Any) -> None:
        # A record's own messages are written before it counts as done: what follows is never overlooked.
        deadline = time.monotonic() + PATIENCE
        while sum(worker.done() for worker in self.workers) != await self._sent(reader):
            assert time.monotonic() < deadline, "waited in vain for what was sent to be done"
            await asyncio.sleep(0.01)

    async def _sent(self, reader: Any) -> int:
        ends = await reader.end_offsets(EVERYWHERE)
        return sum(end - self.ends[place] for place, end in ends.items())

    def said(self, *topics: str) -> list[Record]:
        """What was said on *topics* since the beginning of sessions that this one sent."""

        async def records() -> list[Record]:
            return [one async for one in retained(self.connection, topics, self.begun)]

        ours = self.suffix.encode()
        return [one for one in asyncio.run(records()) if ours in (one.key or b"")]

    def told(self, topic: str) -> list[dict[str, Any]]:
        """The same of one topic, read."""
        return [json.loads(one.value or b"") for one in self.said(topic)]

    def end(self) -> None:
        """Leave no worker behind, and no order that others would follow."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait(10)
        if ("promote", self.odd) in self.orders or ("shadow", self.odd) in self.orders:
            self.order("model", "retire", self.odd)


async def _send(writer: Writer, events: Iterable[Timed]) -> None:
    for topic, event in events:
        await writer.send(Message(topic, record_key(topic, event), encode(event)))
    await writer.flush()


@asynccontextmanager
async def _reader(connection: Connection) -> AsyncIterator[Any]:
    """Give a consumer that fetches nothing: behind a fetch that waits, a question for offsets would wait."""
    async with aiokafka.AIOKafkaConsumer(**connection.for_aiokafka()) as reader:
        yield reader


def _apart(events: Iterable[Timed], window_ms: int) -> Iterator[list[Timed]]:
    """*events*, in order, as steps of so much event time."""
    for _, step in groupby(in_order(events), lambda timed: timed[1]["occurred_at"] // window_ms):
        yield list(step)


@pytest.fixture
def life(tmp_path: Path, trained: Path) -> Iterator[Life]:
    life = Life(tmp_path, trained)
    try:
        yield life
    finally:
        life.end()


# --- Promoted, and gone back from -------------------------------------------------------------------------

ALL_LOGGED = "low_features_share = 1.0"


class Flow:
    """Calls that flow from a thread, some in every partition, until it is told to stop."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.sent: list[str] = []
        self._over = Flag()
        self._thread = Thread(target=lambda: asyncio.run(self._flow()))

    async def _flow(self) -> None:
        async with writing(self.life.connection) as writer:
            for turn in count():
                if self._over.is_set():
                    break
                events = list(steady(PARTITIONS, _now(), _now(), self.life.suffix))
                for _, event in events:
                    event["event_id"] += f"-{turn}"
                    self.sent.append(event["event_id"])
                await _send(writer, events)
                await asyncio.sleep(0.02)

    def goes_on(self) -> None:
        """Return when some hundred more were decided on."""
        enough = self.life.workers[0].done() + 400
        _until(lambda: self.life.workers[0].done() >= enough)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_promoted_model_decides_until_it_is_gone_back_from_and_every_event_is_decided_on_once(
    life: Life,
) -> None:
    worker = life.begin(ALL_LOGGED)
    _until(lambda: worker.partitions() == PLACES)
    begun = worker.began_at()
    told = [worker.models()]
    with Flow(life) as flow:
        flow.goes_on()
        life.order("promote", life.odd)
        told.append(_decided_by(worker, life.odd_id))
        flow.goes_on()
        life.order("rollback")
        told.append(_decided_by(worker, life.calm_id))
        flow.goes_on()
    life.settle()

    assert told == [{(model, "champion"): 1.0} for model in (life.calm_id, life.odd_id, life.calm_id)]
    vectors = life.said(SESSION_FEATURES)
    by_event = Counter(json.loads(one.value or b"")["event_id"] for one in vectors)
    assert {event: by_event[event] for event in flow.sent} == dict.fromkeys(flow.sent, 1)
    assert _models_in_turn(vectors) == {
        partition: [life.calm_id, life.odd_id, life.calm_id] for partition in range(PARTITIONS)
    }
    assert (worker.began_at(), worker.end()) == (begun, 0)


def _decided_by(worker: Worker, model: str) -> Series:
    """The models that *worker* tells it uses, once *model* decides."""
    _until(lambda: (model, "champion") in worker.models())
    return worker.models()


def _models_in_turn(vectors: Sequence[Record]) -> dict[int, list[str]]:
    """Which models scored in each partition, one after the other."""
    lanes: dict[int, list[str]] = defaultdict(list)
    for record in sorted(vectors, key=lambda record: (record.partition, record.offset)):
        lanes[record.partition].append(json.loads(record.value or b"")["model"])
    return {partition: [model for model, _ in groupby(models)] for partition, models in lanes.items()}


def test_of_two_workers_each_tells_the_model_that_it_runs_and_which_it_cannot_load(
    life: Life, trained: Path
) -> None:
    elsewhere = life.folder / "elsewhere"
    _put(trained, elsewhere / life.calm, CALM)
    one = life.begin(ALL_LOGGED)
    _until(lambda: one.partitions() == PLACES)
    other = life.start(model_dir=str(elsewhere), data_dir=str(life.folder / "data-elsewhere"))
    _until(lambda: one.partitions() | other.partitions() == PLACES)
    _until(lambda: all((one.partitions(), other.partitions())))

    life.order("promote", life.odd)
    _until(lambda: (life.odd_id, "champion") in one.models() and other.refused() != {})
    life.play(steady(PARTITIONS, _now(), _now(), life.suffix))

    assert (one.models(), one.refused()) == ({(life.odd_id, "champion"): 1.0}, {})
    assert (other.models(), other.refused()) == ({(life.calm_id, "champion"): 1.0}, {(life.odd,): 1.0})
    assert _models_in_turn(life.said(SESSION_FEATURES)) == {
        int(partition): [model]
        for worker, model in ((one, life.odd_id), (other, life.calm_id))
        for partition in worker.partitions()
    }


# --- Looking on -------------------------------------------------------------------------------------------


def test_a_shadowed_model_is_heard_on_its_own_topic_and_commands_nothing(life: Life) -> None:
    worker = life.begin("anomaly_weights = [0.0, 0.0, 9.0]")
    life.order("shadow", life.odd)
    _until(lambda: worker.models() == {(life.calm_id, "champion"): 1.0, (life.odd_id, "challenger"): 1.0})
    told = _stories(life, "a-phone-jailbroken", "d-network-moved-step-up-passed")

    life.play(*_apart((timed for story in told for timed in story.events), WINDOW_MS))

    endings = Endings()
    decisions = life.told(SESSION_RISK)
    commands = [*life.told(SESSION_REVOCATIONS), *life.told(SESSION_CHALLENGES)]
    for record in life.said(SESSION_RISK, SESSION_REVOCATIONS, SESSION_CHALLENGES):
        endings.take(record.topic, record.value or b"")
    assert [sentence for story in told for sentence in endings.wrong(story)] == []
    assert {decision["model"] for decision in decisions} == {life.calm_id}
    assert {one["decision_id"] for one in commands} <= {one["decision_id"] for one in decisions}
    moved = next(session for session in told[1].expect if session.startswith("ana-d"))
    heard = [_opinions(shadow) for shadow in life.told(SESSION_SHADOW) if shadow["session_id"] == moved]
    assert [opinions for opinions, _ in groupby(heard)] == [
        (life.calm_id, "step_up", life.odd_id, "revoke"),
        (life.calm_id, "allow", life.odd_id, "revoke"),
    ]


def _opinions(shadow: dict[str, Any]) -> tuple[str, str, str, str]:
    assert shadow["differs"]
    champion, challenger = shadow["champion"], shadow["challenger"]
    return champion["model"], champion["action"], challenger["model"], challenger["action"]


def _stories(life: Life, *names: str) -> list[Scenario]:
    """The stories of these names, in that order, ending now, with ids of this life."""
    told = {story.name: story for story in stories(find_directory(), _now(), life.suffix)}
    return [told[name] for name in names]


# --- Drifted from -----------------------------------------------------------------------------------------


def test_drift_is_small_while_traffic_is_what_the_model_knows_and_large_when_it_is_not(
    life: Life, trained: Path
) -> None:
    name = f"learned{life.suffix}"
    copytree(trained, life.folder / "models" / name)
    worker = life.begin(model=name)
    _until(lambda: worker.partitions() == PLACES)
    assert worker.drift() == {}

    life.play(*_apart(honest(*HONEST, T0), 60_000))
    worker.turn()
    known = worker.drift()
    life.play(_bulk_reads())
    worker.turn()
    moved = worker.drift()

    assert {name: known[name] < MODERATE for name in VOLUMES} == dict.fromkeys(VOLUMES, True)
    assert {name: moved[name] >= LARGE for name in VOLUMES} == dict.fromkeys(VOLUMES, True)
    assert known[SCORE] < LARGE <= moved[SCORE]


VOLUMES = ("calls_1m", "records_10m", "sensitive_records_10m")


def _bulk_reads() -> list[Timed]:
    """Bulk reads of a new service, many a second: what nobody did before."""
    who = {"principal_kind": "service", "principal_id": "reader", "session_id": "reader"}
    what = {"operation": "GET /customers/{id}", "records": 500, "sensitivity": "restricted"}
    return [
        (API_CALLS, call(at=number / 100, **who, **what, event_id=f"bulk-{number}"))
        for number in range(4_000)
    ]


# --- Replayed ---------------------------------------------------------------------------------------------

WALL = ("decided_at", "scored_at", "deadline", "at")
"""Members that tell times by the wall clock, which in a replay is the clock of the events."""
GRID = 20
"""Seconds, at least, between two events of a household: what one leads to is known before the next, in a
worker as in a replay, however long a context takes to answer."""


def test_what_the_topics_hold_is_decided_on_by_a_replay_as_the_worker_did(life: Life) -> None:
    out = life.folder / "out"
    ana: dict[str, Any] = {"session_id": f"ana{life.suffix}", "principal_id": f"ana{life.suffix}"}
    before = [(API_CALLS, call(**ana, records=6_000, sensitivity="restricted"))]
    worker = life.begin(ALL_LOGGED, before, sweep_s="60")  # nothing is idle for so long by the wall clock
    _until(lambda: worker.partitions() == PLACES)
    life.play(*_apart(_households(life.suffix), 1_000 * GRID))

    since = datetime.fromtimestamp(life.begun / 1000, UTC).isoformat()
    where = ("--from-topics", "--since", since, "--partitions", str(PARTITIONS))
    life.order("replay", *where, "--out", str(out))

    told = _by_session(life, ((one.topic, one.value or b"") for one in life.said(*OUTPUT_TOPICS)))
    lines = ((path.stem, line) for path in out.iterdir() for line in path.read_bytes().splitlines())
    assert _by_session(life, lines) == told
    assert {(topic, who.removesuffix(life.suffix)) for topic, who in told if topic in ENDS} == {
        (SESSION_REVOCATIONS, "ana"), (SESSION_REVOCATIONS, "ben"), (SESSION_REVOCATIONS, "cara"),
        (SESSION_CHALLENGES, "cara"), (DEAD_LETTERS, "ben"),
    }  # fmt: skip


ENDS = (SESSION_REVOCATIONS, SESSION_CHALLENGES, DEAD_LETTERS)


def _households(suffix: str) -> list[Timed]:
    """A phone that is jailbroken, a mass read, a session that moves and is not stepped up; one bad record."""
    ana = {"session_id": f"ana{suffix}", "principal_id": f"ana{suffix}", "device_id": f"phone{suffix}"}
    ben = {"session_id": f"ben{suffix}", "principal_id": f"ben{suffix}"}
    cara = {"session_id": f"cara{suffix}", "principal_id": f"cara{suffix}"}
    before = cara | {"session_id": f"before{suffix}"}
    minutes = range(1, 23)
    phone = {"device_id": ana["device_id"], "platform": "ios", "heartbeat_interval_ms": 60_000}
    events = [
        *(telemetry(60 * at, **phone, rooted=at >= 6) for at in minutes),
        auth(20, **ana),
        *(call(60 * at + 20, **ana) for at in minutes),
        auth(20, **ben),
        *(call(60 * at + 20, **ben, records=6_000 * (at == 9), sensitivity="restricted") for at in minutes),
        auth(0, **before, asn=64_501),
        call(20, **before, asn=64_501),
        auth(40, **before, action="sign_out"),
        auth(60, **cara, asn=64_501),
        *(call(60 * at + 40, **cara, asn=64_501 if at < 14 else 64_502) for at in minutes),
    ]
    for number, event in enumerate(events):
        event["event_id"] = f"e-{number}{suffix}"
    no_call = {"type": "api.call", "session_id": ben["session_id"], "occurred_at": T0 + 300_000}
    times = steady(PARTITIONS, T0, T0 + 60_000 * minutes.stop, suffix, every_ms=1_000 * GRID)
    return [*((topic_of(event), event) for event in events), (API_CALLS, no_call), *times]


def _by_session(life: Life, said: Iterable[tuple[str, bytes]]) -> dict[tuple[str, str], list[str]]:
    """What was said of each session on each topic, in order, but for times by the wall clock.

    Vectors are those of events that were sent: of what two contexts say at a time, either may come first.
    """
    kept: dict[tuple[str, str], list[str]] = defaultdict(list)
    for topic, value in said:
        told = json.loads(value)
        session = _session(topic, told)
        if session.endswith(life.suffix) and "~" not in told.get("event_id", ""):
            hidden = (*WALL, "offset") if topic == DEAD_LETTERS else WALL
            kept[topic, session].append(json.dumps({n: one for n, one in told.items() if n not in hidden}))
    return kept


def _session(topic: str, told: dict[str, Any]) -> str:
    if topic == DEAD_LETTERS:
        return b64decode(told["key"]).decode()
    session: str = (told["unmapped"] if topic == SESSION_FINDINGS else told)["session_id"]
    return session
