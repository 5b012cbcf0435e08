"""Two models on the same data: which sessions another model would have changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.artefacts import load, pack, save
from models.detectors.base import BANDS, Moved
from models.events.columns import PRINCIPAL_KIND
from models.features.table import FEATURE_NAMES, as_seen_by_models
from pipeline.commands import compare
from pipeline.decisions.policy import parse_policy
from pipeline.offline.replay.labels import Truths
from pipeline.offline.replay.recording import TOPIC_OF, write
from pipeline.offline.training.comparison import Bands, ResultCollector, SessionResult, compare_results, results_on
from pipeline.offline.training.vectors import Row, Vectors
from pipeline.processing.processor import Message
from pipeline.settings.loading import load as load_settings
from schemas.decisions import SessionFeatures
from schemas.decode import encode
from schemas.topics import SESSION_CHALLENGES, SESSION_FEATURES, SESSION_REVOCATIONS, SESSION_RISK
from tests.offline.test_training import data, json_of, life, model, run, truths
from tests.support.exports import exported, vector
from tests.support.histories import CAFE, HOME, earlier, moved
from tests.support.role_samples import sample_roles
from tests.support.samples import UNASKED

__all__ = ["data", "model"]  # fixtures


def say(results: ResultCollector, topic: str, session_id: str, **overrides: Any) -> None:
    results.take(Message(topic, b"", encode({"tenant": "acme", "session_id": session_id, **overrides})))


def decided(results: ResultCollector, session_id: str, level: str, score: float, *reasons: str) -> None:
    counted = [{"detection": name, "contribution": 1.0} for name in reasons]
    quiet = {"detection": "anomaly", "contribution": 0.0}
    say(results, SESSION_RISK, session_id, level=level, score=score, reasons=[*counted, quiet])


# --- Decisions --------------------------------------------------------------------------------------------


def test_a_session_is_described_by_its_most_severe_result() -> None:
    results = ResultCollector()
    decided(results, "s-1", "MEDIUM", 50.0, "network_changed")
    decided(results, "s-1", "HIGH", 90.0, "token_replayed", "network_changed")
    decided(results, "s-1", "LOW", 2.0)
    say(results, SESSION_CHALLENGES, "s-1")
    decided(results, "s-2", "MEDIUM", 45.0, "mass_read")
    say(results, SESSION_REVOCATIONS, "s-3")
    say(results, SESSION_FEATURES, "s-4")

    assert results.by_session == {
        ("acme", "s-1"): SessionResult("HIGH", 90.0, True, False, ["token_replayed", "network_changed"]),
        ("acme", "s-2"): SessionResult("MEDIUM", 45.0, reasons=["mass_read"]),
        ("acme", "s-3"): SessionResult(revoked=True),
    }
    assert [fate.step for fate in (*results.by_session.values(), SessionResult())] == [
        "step_up",
        "noticed",
        "revoke",
        "nothing",
    ]


def test_only_sessions_that_differ_are_listed_with_their_ground_truth() -> None:
    by_key = {
        ("acme", "s-1"): SessionResult("MEDIUM", 50.0),
        ("acme", "s-62"): SessionResult("HIGH", 88.0, revoked=True),
    }
    other = {
        ("acme", "s-1"): SessionResult("MEDIUM", 55.0),
        ("acme", "s-2"): SessionResult("MEDIUM", 45.0),
        ("acme", "s-62"): SessionResult("HIGH", 88.0, challenged=True),
    }

    found = compare_results(by_key, other, Truths(truths()))

    plain = {"level": "LOW", "score": 0.0, "challenged": False, "revoked": False, "reasons": []}
    assert found == {
        "by": "decisions",
        "sessions": 3,
        "differ": 2,
        "changes": {"attack: revoke → step_up": 1, "benign: nothing → noticed": 1},
        "a": {"nothing": 0, "noticed": 1, "step_up": 0, "revoke": 1},
        "b": {"nothing": 0, "noticed": 2, "step_up": 1, "revoke": 0},
        "differences": [
            {
                "tenant": "acme",
                "session_id": "s-2",
                "label": "benign",
                "family": "usual",
                "change": "nothing → noticed",
                "a": plain,
                "b": plain | {"level": "MEDIUM", "score": 45.0},
            },
            {
                "tenant": "acme",
                "session_id": "s-62",
                "label": "attack",
                "family": "theft",
                "change": "revoke → step_up",
                "a": plain | {"level": "HIGH", "score": 88.0, "revoked": True},
                "b": plain | {"level": "HIGH", "score": 88.0, "challenged": True},
            },
        ],
    }


def test_a_level_that_differs_without_another_step_is_listed_as_a_level() -> None:
    found = compare_results({("t", "s"): SessionResult("MEDIUM")}, {("t", "s"): SessionResult("HIGH")}, Truths())

    assert found["changes"] == {"unknown: MEDIUM → HIGH": 1}


# --- Score bands ------------------------------------------------------------------------------------------


class Calls:
    """A detector whose band is the number of calls in the last minute plus *more*."""

    is_general = False

    def __init__(self, more: int) -> None:
        self.more = more
        self.id = f"calls@{more}"

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.expm1(seen[:, FEATURE_NAMES.index("calls_1m")].astype(np.float64)) + self.more

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.clip(np.round(scores), 0, len(BANDS)).astype(np.uint8)

    def explain(self, values: NDArray[np.float64], kind: int, limit: int) -> list[Moved]:
        return []


def test_bands_are_counted_per_vector_and_listed_by_the_highest_of_a_session() -> None:
    def row(session_id: str, calls: int) -> Row:
        values = dict.fromkeys(FEATURE_NAMES, 0.0) | {"calls_1m": calls}
        return Row.of(SessionFeatures.model_validate(vector(calls, session_id=session_id, values=values)))

    bands = Bands(Calls(0), Calls(1))
    for part in ([row("s-1", 0), row("s-2", 6)], [row("s-1", 1), row("s-2", 0)]):
        bands.take(Vectors.of(part))

    assert bands.plain() == {
        "by": "score bands",
        "sessions": 2,
        "differ": 1,
        "changes": {"unknown: band 1 → band 2": 1},
        "vectors": [
            [0, 2, 0, 0, 0, 0, 0],
            [0, 0, 1, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0],
            *[[0] * 7] * 3,
            [0, 0, 0, 0, 0, 0, 1],
        ],
        "differences": [{"tenant": "acme", "session_id": "s-1", "label": "unknown", "a": 1, "b": 2}],
    }


# --- The command ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learned of attacks as if they were honest."""
    folder = tmp_path_factory.mktemp("naive")
    exported(folder / "data", [*life()])
    json_of("train", folder / "data", "--out", folder / "naive", "--name", "naive")
    return folder / "naive"


def test_on_an_export_the_bands_of_each_vector_are_compared(data: Path, model: Path, naive: Path) -> None:
    found, shown = (
        json_of("compare", model, naive, "--on", data),
        run("compare", model, naive, "--on", data).stdout,
    )

    first, second = load(model), load(naive)
    assert found["models"] == {"a": first.id, "b": second.id}
    assert np.sum(found["vectors"]) == len([*life()])
    values = np.array([[fields["values"][name] for name in FEATURE_NAMES] for fields in life()])
    seen = as_seen_by_models(np.ascontiguousarray(values.T))
    kinds = np.full(len(seen), PRINCIPAL_KIND["human"], np.uint8)
    bands = [trained.band(trained.score(seen, kinds)) for trained in (first, second)]
    assert [np.sum(found["vectors"], axis=axis).tolist() for axis in (1, 0)] == [
        np.bincount(band, minlength=len(BANDS) + 1).tolist() for band in bands
    ]
    assert f"{found['differ']:,} of {found['sessions']:,} sessions differ" in shown
    assert json_of("compare", model, model, "--on", data)["differences"] == []


def test_a_note_says_that_vectors_were_scored_with_other_roles(data: Path, model: Path, tmp_path: Path) -> None:
    with_roles = tmp_path / "with-roles"
    files = {"roles.npz": pack(sample_roles().arrays)}
    save(load(model), with_roles, {"data": {}, "fit": {}, "thresholds": [], "metrics": {}}, files)

    shown = " ".join(run("compare", model, with_roles, "--on", data).stdout.split())

    assert json_of("compare", model, with_roles, "--on", data)["note"] == compare.DIFFERENT_ROLES
    assert compare.DIFFERENT_ROLES in shown
    assert "note" not in json_of("compare", with_roles, with_roles, "--on", data)


def moved_abroad(folder: Path, **network: Any) -> Path:
    """A recording in which ana's session moves to a *network* that is new to her."""
    with write(folder) as writer:
        for event in [*earlier(HOME), *moved(HOME, CAFE | network)]:
            known = {name: value for name, value in event.items() if value is not None}
            writer.event(TOPIC_OF[event["type"]], known)
    return folder


def test_on_a_recording_both_models_decide_and_the_decisive_detections_are_listed(tmp_path: Path) -> None:
    recording = moved_abroad(tmp_path / "recording")
    policy = parse_policy(f"{UNASKED}[detections.network_changed]\nweight = 4.5")
    calm, odd = (results_on(recording, (Calls(more), None), policy, load_settings()) for more in (-1_000, 1_000))

    found = compare_results(calm, odd, Truths())

    assert found["changes"] == {"unknown: step_up → revoke": 1}
    assert found["differences"] == [
        {
            "tenant": "default",
            "session_id": "s-1",
            "label": "unknown",
            "family": None,
            "change": "step_up → revoke",
            "a": {"level": "MEDIUM", "score": 62.2, "challenged": True, "revoked": False}
            | {"reasons": ["network_changed"]},
            "b": {"level": "HIGH", "score": 84.6, "challenged": False, "revoked": True}
            | {"reasons": ["network_changed", "anomaly"]},
        }
    ]


def test_a_model_compared_on_a_recording_with_itself_changes_nothing(model: Path, tmp_path: Path) -> None:
    recording = moved_abroad(tmp_path / "recording", network_type="tor")

    found = json_of("compare", model, model, "--on", recording)
    shown = run("compare", model, model, "--on", recording).stdout

    identity = load(model).id
    steps = found["a"]
    assert steps["step_up"] == 1
    assert found == {
        "models": {"a": identity, "b": identity},
        "on": str(recording),
        "by": "decisions",
        "sessions": found["sessions"],
        "differ": 0,
        "changes": {},
        "a": steps,
        "b": steps,
        "differences": [],
    }
    assert shown.splitlines()[0] == f"by decisions: A {identity}, B {identity}"
    assert shown.splitlines()[1] == f"0 of {found['sessions']} sessions differ"
