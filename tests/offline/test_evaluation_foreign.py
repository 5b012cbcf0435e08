"""Labelled worlds of others are replayed and judged: who was met, who was harmed, what fired, how scores separate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from models.artefacts import load, load_reference, load_roles
from models.detectors import labelled
from models.detectors.base import NoDetector
from models.detectors.labelled import TooFewLabels
from models.events.columns import KINDS
from models.features.table import FEATURE_NAMES
from models.state.table import SessionTable
from pipeline.decisions.policy import Policy
from pipeline.detections import BIT, MASK_WORDS
from pipeline.offline.evaluation.__main__ import main
from pipeline.offline.evaluation.foreign.command import progress_line
from pipeline.offline.evaluation.foreign.judgement import (
    Caught,
    DetectionResult,
    Falses,
    Ordering,
    by_detection,
    caught,
    falses,
    grouped,
    machines_ended,
    ordering,
)
from pipeline.offline.evaluation.foreign.labelled import DAY_MS, LabelledSession, read_world, worlds_in
from pipeline.offline.evaluation.foreign.learning import PER_SESSION, LabelledVectors, learn, vectors_of
from pipeline.offline.evaluation.foreign.observed import ObservedSession, Observer, key_of
from pipeline.offline.evaluation.foreign.replaying import replay_world, replay_worlds, replayed
from pipeline.offline.evaluation.play import Model
from pipeline.offline.replay.recording import RecordingError
from pipeline.processing.processor import Message
from pipeline.sessions.fast_path import ScoredChunk
from pipeline.times import HOUR_MS, MINUTE_MS
from schemas.decode import encode
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK
from tests.support.run_processors import topic_of
from tests.support.samples import T0, auth, call, telemetry
from tests.support.toy_detectors import TRAINED

BEGUN, ATTACKED, ENDED = T0, T0 + 5 * HOUR_MS, T0 + 10 * HOUR_MS


def session(session_id: str = "s-1", *, attacked: bool = False, **members: Any) -> LabelledSession:
    """A session of ten hours, attacked after five if it is."""
    usual: dict[str, Any] = {
        "tenant": "default",
        "session_id": session_id,
        "company": "bank",
        "principal_kind": "human",
        "family": "malware" if attacked else None,
        "intensity": "low" if attacked else None,
        "first_at": BEGUN,
        "last_at": ENDED,
        "attacked_at": ATTACKED if attacked else None,
        "attack_over_at": ATTACKED + HOUR_MS if attacked else None,
        "first_day_until": T0 + DAY_MS,
    }
    return LabelledSession(**{**usual, **members})


def revoked(at: int, *detections: str, **members: Any) -> ObservedSession:
    """A session that was revoked at *at*."""
    return ObservedSession(session(**members), revocations=[(at, detections)])


def challenged(at: int, **members: Any) -> ObservedSession:
    """A session that was challenged at *at*."""
    return ObservedSession(session(**members), challenges={"c-1": (at, ("network_changed",))})


# --- the borders of honest time ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "false"),
    [
        (ENDED + MINUTE_MS - 1, 1),
        (ENDED + MINUTE_MS, 0),
    ],
)
def test_a_command_a_minute_after_the_last_event_of_an_honest_session_harms_nobody(at: int, false: int) -> None:
    assert falses([revoked(at)]) == Falses(1, 10.0, false, 0, 0)
    assert falses([challenged(at)]) == Falses(1, 10.0, 0, 0, false)


@pytest.mark.parametrize(
    ("at", "met", "false"),
    [
        (ATTACKED - MINUTE_MS - 1, 0, 1),
        (ATTACKED - MINUTE_MS, 1, 0),
    ],
)
def test_a_command_up_to_a_minute_before_an_attack_is_a_response_to_it(at: int, met: int, false: int) -> None:
    minutes = -1.0 if met else None
    hours = (5 * HOUR_MS - MINUTE_MS) / HOUR_MS
    attack = revoked(at, attacked=True)
    assert caught([attack]) == Caught(1, met, met, met, minutes)
    assert falses([attack]) == Falses(1, hours, false, 0, 0)

    attack = challenged(at, attacked=True)
    assert caught([attack]) == Caught(1, met, met, 0, minutes)
    assert falses([attack]) == Falses(1, hours, 0, 0, false)


def test_an_attack_may_be_met_after_it_was_over_but_not_in_time() -> None:
    over = ATTACKED + HOUR_MS + MINUTE_MS

    assert caught([revoked(over, attacked=True)]) == Caught(1, 1, 1, 1, 61.0)
    assert caught([revoked(over + 1, attacked=True)]).in_time == 0


def test_interventions_and_hours_of_the_first_day_are_told_from_the_rest() -> None:
    first_day_until = BEGUN + 2 * HOUR_MS
    observed = [
        revoked(first_day_until - 1, "step_up_missed", first_day_until=first_day_until),
        revoked(first_day_until, first_day_until=first_day_until),
        challenged(first_day_until - 1, first_day_until=first_day_until),
    ]

    assert falses(observed, "first_day") == Falses(3, 6.0, 1, 1, 1)
    assert falses(observed, "rest") == Falses(3, 24.0, 1, 0, 0)
    assert falses(observed) == Falses(3, 30.0, 2, 1, 1)


def test_rates_are_per_honest_hour_and_unknown_without_any() -> None:
    part, none = Falses(1, 20.0, 1, 0, 2), Falses(0, 0.0, 0, 0, 0)

    assert (part.revoked_per_10000_hours, part.challenges_per_1000_hours) == (500.0, 100.0)
    assert (none.revoked_per_10000_hours, none.challenges_per_1000_hours) == (None, None)


def test_a_service_or_key_counts_as_ended_only_in_honest_time() -> None:
    observed = [
        revoked(BEGUN, principal_kind="service"),
        revoked(BEGUN, principal_kind="api_key"),
        revoked(BEGUN, principal_kind="human"),
        revoked(BEGUN, principal_kind="agent"),
        revoked(ATTACKED, attacked=True, principal_kind="service"),
    ]

    assert machines_ended(observed) == 2


def test_groups_are_sorted_and_leave_out_sessions_without_a_name() -> None:
    observed = [ObservedSession(session(family=name)) for name in ("b", None, "a", "b")]

    assert grouped(observed, lambda seen: seen.family, len) == {"a": 1, "b": 2}


# --- detections and scores --------------------------------------------------------------------------------


def test_a_detection_is_judged_by_where_it_fired_and_by_the_false_commands_that_name_it() -> None:
    rooted, changed = 1 << BIT["device_rooted"], 1 << BIT["network_changed"]
    observed = [
        ObservedSession(session(), fired_honest=changed),
        ObservedSession(session(attacked=True), fired_honest=changed, fired_attacked=rooted | changed),
        ObservedSession(session(attacked=True), fired_attacked=rooted),
        revoked(BEGUN, "step_up_missed"),
        challenged(BEGUN),
    ]
    hours = (3 * 10 * HOUR_MS + 2 * (5 * HOUR_MS - MINUTE_MS)) / HOUR_MS

    assert by_detection(observed) == [
        DetectionResult("network_changed", 2, 1, 1e4 * 2 / hours, 0.5, 1 / 3, 0, 1),
        DetectionResult("device_rooted", 0, 2, 0.0, 1.0, 1.0, 0, 0),
        DetectionResult("step_up_missed", 0, 0, 0.0, 0.0, None, 1, 0),
    ]


def scored(*scores: float, attacked: bool = False) -> list[ObservedSession]:
    """Sessions with these scores."""
    return [ObservedSession(session(attacked=attacked), score=score) for score in scores]


def test_equal_scores_separate_nothing_and_higher_ones_everything() -> None:
    assert ordering([*scored(1.0, 1.0), *scored(1.0, attacked=True)]) == Ordering(0.5, 0.0)
    assert ordering([*scored(1.0, 2.0), *scored(3.0, attacked=True)]) == Ordering(1.0, 1.0)
    assert ordering(scored(1.0)) == Ordering(None, None)


def test_of_equal_decisions_the_score_of_the_model_says_which_session_is_worse() -> None:
    honest, attacked, decided = (
        ObservedSession(session(attacked=attacked), score=score, anomaly=anomaly)
        for attacked, score, anomaly in ((False, 0.0, 0.7), (True, 0.0, 0.8), (False, 1.0, 0.1))
    )

    assert ordering([honest, attacked]) == Ordering(1.0, 1.0)
    assert ordering([honest, attacked, decided]) == Ordering(0.5, 0.0)


def test_recall_allows_one_honest_session_of_a_thousand_to_score_higher() -> None:
    attacks = scored(5.0, 3.0, 1.0, attacked=True)

    assert ordering([*scored(*[0.0] * 998, 2.0, 4.0), *attacks]).recall == pytest.approx(2 / 3)
    assert ordering([*scored(*[0.0] * 997, 2.0, 4.0), *attacks]).recall == pytest.approx(1 / 3)


# --- a tiny world -----------------------------------------------------------------------------------------


def rows(path: Path, *objects: dict[str, Any]) -> None:
    """Write *objects* as JSON lines."""
    path.write_bytes(b"".join(json.dumps(plain).encode() + b"\n" for plain in objects))


def known(session_id: str, seconds: int, company: str = "field") -> dict[str, Any]:
    """A row of sessions.jsonl: a session that begins at T0."""
    return {
        "session_id": session_id,
        "archetype": company,
        "principal_kind": "human",
        "session_started_at": T0,
        "session_ended_at": T0 + seconds * 1000,
    }


def truth(session_id: str, seconds: tuple[int, int], **members: Any) -> dict[str, Any]:
    """A row of truth.jsonl, honest unless *members* say otherwise."""
    begun, ended = (T0 + second * 1000 for second in seconds)
    usual = {"tenant": "default", "label": "benign", "family": None, "intensity": None}
    return {**usual, "session_id": session_id, "started_at": begun, "ended_at": ended, **members}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Ana's phone is jailbroken by an attacker after two minutes; Eve's, who is not judged, too; Ben works on."""
    folder = tmp_path / "worlds" / "field-1"
    folder.mkdir(parents=True)
    events = [
        telemetry(0, heartbeat_interval_ms=600_000, rooted=False),
        auth(1, device_id="phone-1"),
        auth(2, device_id="phone-2", session_id="eve", principal_id="eve"),
        call(30, device_id="phone-1"),
        telemetry(100, device_id="phone-2", rooted=True),
        telemetry(120, rooted=True),
        call(130, device_id="phone-1"),
        call(131, device_id="phone-2", session_id="eve", principal_id="eve"),
        *(call(at, session_id="ben", principal_id="ben") for at in range(0, 300, 10)),
    ]
    by_topic: dict[str, list[Any]] = {}
    for event in sorted(events, key=lambda fields: int(fields["occurred_at"])):
        by_topic.setdefault(topic_of(event), []).append(event)
    for topic, found in by_topic.items():
        (folder / f"{topic}.jsonl").write_bytes(b"".join(encode(event) + b"\n" for event in found))
    plain = {"start": T0, "end": T0 + DAY_MS, "volumes": {topic: len(found) for topic, found in by_topic.items()}}
    (folder / "world.json").write_text(json.dumps(plain))
    rows(folder / "sessions.jsonl", known("s-1", 180), known("ben", 290), known("eve", 180))
    attack = truth("s-1", (120, 180), label="attack", family="jailbreak", intensity="high")
    rows(folder / "truth.jsonl", attack, truth("ben", (0, 290)))
    return folder


@pytest.fixture
def worlds(world: Path) -> Path:
    """The same in two kinds of company."""
    other = world.parent / "bank-1"
    copytree(world, other)
    rows(other / "sessions.jsonl", *(known(name, until, "bank") for name, until in (("s-1", 180), ("ben", 290))))
    return world.parent


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attack and one honest session teach boosted trees."""
    for name in ("MIN_ATTACKED", "MIN_HONEST", "MIN_BOOSTED", "MIN_COMPANIES"):
        monkeypatch.setattr(labelled, name, 1)


def test_a_world_is_read_with_what_is_known_of_each_session(world: Path) -> None:
    read = read_world(world)

    assert (read.start, read.end, read.events) == (T0, T0 + DAY_MS, 38)
    usual: dict[str, Any] = {"company": "field", "first_at": T0}
    assert list(read.sessions.values()) == [
        session(
            attacked=True,
            **usual,
            family="jailbreak",
            intensity="high",
            last_at=T0 + 180_000,
            attacked_at=T0 + 120_000,
            attack_over_at=T0 + 180_000,
        ),
        session("ben", **usual, last_at=T0 + 290_000),
    ]


def test_a_replay_tells_what_was_done_to_judged_sessions_and_how_far_it_is(world: Path) -> None:
    told: list[int] = []

    ana, ben = replay_world(world, Policy(), Model(NoDetector()), told.append)

    assert told == [38]
    assert set(ana.revocations) == {(T0 + 120_000, ("device_rooted",))}  # sent again, as nobody confirmed it
    assert (ana.fired_honest, ana.fired_attacked) == (0, 1 << BIT["device_rooted"])
    assert ana.score > 0
    assert ben == ObservedSession(ben.session)


def test_the_anomaly_of_an_attacked_session_is_its_highest_score_since_the_attack(world: Path) -> None:
    model = Model(TRAINED["components", "calibrated"])
    seen: list[tuple[str, int, float]] = []

    def look(table: SessionTable, chunk: ScoredChunk) -> None:
        owners = [key_of(table.names[row])[1] for row in chunk.folded.seg.keys.tolist()]
        names = [owners[number] for number in chunk.folded.seg.of.tolist()]
        seen.extend(zip(names, chunk.folded.at.tolist(), chunk.score.tolist(), strict=True))

    for _ in replayed(world, Policy(mode="observe"), model, look):
        pass
    ana, ben = replay_world(world, Policy(mode="observe"), model)

    assert ana.anomaly == max(score for name, at, score in seen if name == "s-1" and at >= T0 + 60_000) > 0
    assert ben.anomaly == max(score for name, at, score in seen if name == "ben" and at < T0 + 350_000) > 0


def test_processes_give_what_one_replay_gives_and_tell_their_progress(world: Path) -> None:
    told: list[Sequence[int]] = []

    parts = replay_worlds([world, world], Policy(), Model(NoDetector()), 2, lambda *args: told.append(args), 60.0)

    assert parts == [replay_world(world, Policy(), Model(NoDetector()))] * 2
    assert told[-1] == (2, 76, 76)


def test_the_command_prints_tables_and_writes_json(world: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"

    result = CliRunner().invoke(main, ["--worlds", str(world.parent), "--jobs", "1", "--json", str(file)])

    assert result.exit_code == 0, result.output
    assert "jailbreak" in result.stdout
    assert "100% of 38 events" in result.stderr
    written = json.loads(file.read_text())
    assert written["worlds"] == {"field-1": 2}
    ana = {"attacks": 1, "met": 1, "in_time": 1, "revoked": 1, "median_minutes": 0.0}
    assert written["attacks"] == {
        "all": ana,
        "by_intensity": {"high": ana},
        "by_company": {"field": ana},
        "by_family": {"jailbreak": ana},
    }
    spared = {
        "sessions": 2,
        "hours": (290 + 60) / 3600,
        "revoked": 0,
        "unanswered": 0,
        "challenges": 0,
        "revoked_per_10000_hours": 0.0,
        "challenges_per_1000_hours": 0.0,
    }
    unknown = {"hours": 0.0, "revoked_per_10000_hours": None, "challenges_per_1000_hours": None}
    assert written["honest"] == {
        "all": spared,
        "first_day": spared,
        "rest": {**spared, **unknown},
        "by_company": {"field": spared},
        "by_company_and_phase": {"first_day": {"field": spared}, "rest": {"field": {**spared, **unknown}}},
        "by_principal_kind": {"human": spared},
        "worst": {
            "revoked_per_10000_hours": {"company": "field", "rate": 0.0},
            "challenges_per_1000_hours": {"company": "field", "rate": 0.0},
        },
        "machines_ended": 0,
    }
    assert written["scores"] == {"auc": 1.0, "recall": 1.0}


# --- what a replay says, message by message ---------------------------------------------------------------


def record(session_id: str, seconds: float, **members: Any) -> bytes:
    """A decision or command about a session, *seconds* after T0."""
    at = T0 + int(seconds * 1000)
    return encode({"tenant": "default", "session_id": session_id, "decided_at": at, "decision_id": "d-1", **members})


def decision(session_id: str, seconds: float, *contributions: float) -> Message:
    """A decision with these contributions."""
    reasons = [{"contribution": contribution} for contribution in contributions]
    value = record(session_id, seconds, occurred_at=T0 + int(seconds * 1000), reasons=reasons)
    return Message(SESSION_RISK, None, value)


def test_the_score_of_an_attacked_session_counts_from_the_attack_on_and_of_an_honest_one_until_its_end(
    world: Path,
) -> None:
    observer = Observer(read_world(world))
    for message in (
        decision("s-1", 59, 9.0),
        decision("s-1", 60, 1.0, 2.5),
        decision("s-1", 170, 2.0),
        decision("ben", 349, 1.5),
        decision("ben", 350, 9.0),
        decision("eve", 10, 9.0),
    ):
        observer.observe(message)

    assert [seen.score for seen in observer.sessions] == [3.5, 1.5]


def test_a_challenge_sent_again_counts_once_and_a_wall_clock_is_replaced_by_the_time_of_the_event(world: Path) -> None:
    observer = Observer(read_world(world))
    later = 4 * DAY_MS / 1000
    fields: dict[str, Any] = {"challenge_id": "c-1", "detections": ["network_changed"]}
    observer.observe(decision("ben", 20, 1.0))
    observer.observe(Message(SESSION_CHALLENGES, None, record("ben", 30, **fields)))
    observer.observe(Message(SESSION_CHALLENGES, None, record("ben", 40, **fields)))
    observer.observe(Message(SESSION_REVOCATIONS, None, record("ben", later, detections=["mass_read"])))

    ben = observer.sessions[1]
    assert ben.challenges == {"c-1": (T0 + 30_000, ("network_changed",))}
    assert ben.revocations == [(T0 + 20_000, ("mass_read",))]


# --- what people read -------------------------------------------------------------------------------------


def test_progress_says_how_much_is_left() -> None:
    assert progress_line(1, 250, 1_000, 10.0) == "worlds done: 1; 25% of 1,000 events, 25 events/s, 30 s left"
    assert progress_line(0, 0, 1_000, 5.0) == "worlds done: 0; 0% of 1,000 events, 0 events/s, time left unknown"


def test_a_folder_is_one_world_or_has_some(world: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert worlds_in(world) == worlds_in(world.parent) == [world]
    with pytest.raises(RecordingError, match=r"empty has no labelled world: expected a folder with a world\.json"):
        worlds_in(tmp_path / "empty")


def test_a_wrong_world_is_refused_with_file_and_line(world: Path) -> None:
    rows(world / "sessions.jsonl", known("s-1", 180))
    with pytest.raises(RecordingError, match=r"truth\.jsonl, line 2: 'ben' is missing there or for that session"):
        read_world(world)

    rows(world / "truth.jsonl")
    with pytest.raises(RecordingError, match=r"it has no truth\.jsonl, or an empty one"):
        read_world(world)

    (world / "world.json").write_text('{"start": "monday", "end": 0, "volumes": {}}')
    with pytest.raises(RecordingError, match=r"world\.json: start must be an integer, not 'monday'"):
        read_world(world)


@pytest.mark.parametrize(
    "options", [["--jobs", "1"], ["--json", "x.json"], ["--fit", "--worlds", "."], ["--out", "x", "--worlds", "."]]
)
def test_options_that_contradict_each_other_are_refused(options: list[str]) -> None:
    assert CliRunner().invoke(main, options).exit_code == 2


# --- learning ---------------------------------------------------------------------------------------------


def test_only_vectors_of_judged_sessions_are_learned_and_a_minute_before_an_attack_belongs_to_it(world: Path) -> None:
    vectors = vectors_of(world, Model(NoDetector(), None))

    found = list(zip(vectors.sessions.tolist(), vectors.attack.tolist(), strict=True))
    assert {pair: found.count(pair) for pair in set(found)} == {
        (0, False): 4,
        (0, True): 3,
        (1, False): 31,
    }
    assert vectors.seen.shape == (len(found), len(FEATURE_NAMES))
    assert set(vectors.kinds.tolist()) == {KINDS.index("human")}


def some_vectors(sessions: Sequence[int], attack: Sequence[bool], company: str = "bank") -> LabelledVectors:
    """Vectors that are told apart by their first feature."""
    seen = np.zeros((len(sessions), len(FEATURE_NAMES)), np.float32)
    seen[:, 0] = np.arange(len(sessions))
    mask, kinds = np.zeros((len(sessions), MASK_WORDS), np.uint64), np.ones(len(sessions), np.uint8)
    companies = np.full(len(sessions), company)
    return LabelledVectors(seen, mask, kinds, np.array(attack, np.bool_), np.array(sessions, np.int64), companies)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200))
def test_a_long_session_is_thinned_evenly_and_keeps_its_ends(pairs: list[tuple[int, bool]]) -> None:
    few = some_vectors([session for session, _ in pairs], [attack for _, attack in pairs]).thinned()

    kept = few.seen[:, 0].astype(int).tolist()
    assert kept == sorted(kept)
    for pair in set(pairs):
        every = [index for index, other in enumerate(pairs) if other == pair]
        ours = [index for index in kept if pairs[index] == pair]
        assert len(ours) == min(len(every), PER_SESSION)
        assert (ours[0], ours[-1]) == (every[0], every[-1])


def test_sessions_of_two_worlds_are_not_taken_for_one() -> None:
    worlds = [some_vectors([0, 1, 2], [True, False, False], company) for company in ("bank", "field", "bank")]

    with pytest.raises(TooFewLabels, match="3 attacked sessions in 3 worlds are labelled; boosted trees need 100 in 5"):
        learn(TRAINED["components", "calibrated"], worlds, lambda _: None)


@pytest.mark.usefixtures("few_are_enough")
def test_a_model_that_learned_from_worlds_is_written_with_its_roles_and_its_weights_and_can_be_judged(
    worlds: Path, tmp_path: Path
) -> None:
    out, policy = tmp_path / "taught", tmp_path / "fitted.toml"

    options = ["--worlds", str(worlds), "--fit", "--out", str(out), "--weights", str(policy)]
    done = CliRunner().invoke(main, options)

    assert done.exit_code == 0, done.output
    taught = load(out)
    assert taught.is_general
    assert f"{taught.id} is in {out}" in done.output
    assert load_roles(out) is not None
    reference = load_reference(out)
    assert reference is not None
    assert reference.rows == 2 * 24  # at most twenty of each honest part of a session
    assert (
        json.loads((out / "card.json").read_text())["fit"]["second_stage"]
        == "learned from 2 attacks in 2 labelled worlds"
    )
    assert "# 2 labelled worlds: bank-1, field-1." in policy.read_text()
    judged = CliRunner().invoke(
        main, ["--worlds", str(worlds), "--jobs", "1", "--model", str(out), "--policy", str(policy)]
    )
    assert judged.exit_code == 0, judged.output


def test_worlds_of_one_kind_of_company_teach_nothing_that_could_be_judged(world: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--worlds", str(world.parent), "--fit", "--out", str(tmp_path / "taught")])

    assert done.exit_code == 1
    assert "the worlds are of fewer than 2 kinds of company that are not simulated" in done.output


def test_worlds_with_too_few_attacks_teach_nothing(worlds: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--worlds", str(worlds), "--fit", "--out", str(tmp_path / "taught")])

    assert done.exit_code == 1
    assert "2 attacked sessions in 2 worlds are labelled; boosted trees need 100 in 5" in done.output
    assert not (tmp_path / "taught").exists()
