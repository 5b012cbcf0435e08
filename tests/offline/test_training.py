"""A model from an export: training data, card, reports, and reproducible bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from models.artefacts import SHIPPED, load, load_reference, save
from models.features.table import FEATURE_NAMES
from pipeline.cli import main
from pipeline.offline.replay.recording import write
from pipeline.offline.training.datasets import data_in, digested, parts_in
from pipeline.offline.training.train import sample, train
from pipeline.offline.training.vectors import Vectors
from pipeline.sources.ground_truth import Truth
from schemas.topics import API_CALLS
from tests.support.exports import exported, files, vector, verdict
from tests.support.samples import T0, call

HONEST, ATTACKED, EACH = 60, 5, 40
SCORED_BY = load(SHIPPED / "default").id


def life(shift: float = 0.0, odd: float = 2_000.0) -> Iterator[dict[str, Any]]:
    """Vectors of honest sessions and, from the tenth on, of attacks that are *odd*."""
    random = np.random.default_rng(5)
    for number in range(HONEST + ATTACKED):
        for at in range(EACH):
            values = random.lognormal(1.0 + shift, 0.7, len(FEATURE_NAMES))
            if number >= HONEST and at >= 10:
                values[:6] = odd
            yield vector(
                number * EACH + at,
                T0 + at * 1_000,
                session_id=f"s-{number}",
                model=SCORED_BY,
                values=dict(zip(FEATURE_NAMES, values.tolist(), strict=True)),
            )


def truths() -> tuple[Truth, ...]:
    rows = []
    for number in range(HONEST + ATTACKED):
        attack = number >= HONEST
        rows.append(
            Truth(
                tenant="acme",
                session_id=f"s-{number}",
                label="attack" if attack else "benign",
                family="theft" if attack else "usual",
                started_at=T0 + 10_000 if attack else T0,
                ended_at=T0 + EACH * 1_000,
            )
        )
    return tuple(rows)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def json_of(*arguments: str | Path) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled export."""
    folder = tmp_path_factory.mktemp("data") / "export"
    exported(folder, [*life()], truth=truths())
    return folder


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on it."""
    folder = tmp_path_factory.mktemp("models") / "toy"
    json_of("train", data, "--out", folder, "--name", "toy")
    return folder


# --- Training ---------------------------------------------------------------------------------------------


def test_training_on_an_export_again_gives_the_same_bytes_pictures_included(
    data: Path, model: Path, tmp_path: Path
) -> None:
    json_of("train", data, "--out", tmp_path / "toy", "--name", "toy")

    assert files(tmp_path / "toy") == files(model)
    assert set(files(model)) == {
        "card.json",
        "card.md",
        "delay.png",
        "detector.npz",
        "drift.png",
        "precision.png",
        "reference.npz",
        "roles.npz",
        "scores.png",
    }


def test_a_card_describes_the_training_data_and_the_evaluation(model: Path) -> None:
    card = json.loads((model / "card.json").read_text("utf-8"))

    assert {name: card["data"][name] for name in ("kind", "window", "policies")} == {
        "kind": "export",
        "window": ["2026-03-02T00:00:00+00:00", "2026-03-02T00:00:39+00:00"],
        "policies": ["default@1"],
    }
    assert card["data"]["attacked_sessions_left_out"] == ATTACKED
    held = HONEST - card["data"]["sessions"]
    assert 0 < held < HONEST / 2
    assert card["data"]["rows"] == card["data"]["sessions"] * EACH
    metrics = card["metrics"]
    assert (metrics["on"], metrics["by"]) == ("export, held out", "truth")
    assert (metrics["honest_rows"], metrics["attack_rows"]) == (held * EACH, ATTACKED * (EACH - 10))
    assert metrics["recall_of_sessions"] == {"0.1_percent": 1.0, "1_percent": 1.0}
    assert metrics["families"][0]["median_delay_s"] == 0.0
    assert "## How well it does" in (model / "card.md").read_text("utf-8")


def test_what_an_attack_looks_like_changes_nothing_that_is_learned(model: Path, tmp_path: Path) -> None:
    exported(tmp_path / "other", [*life(odd=9.0)], truth=truths())

    found = json_of("train", tmp_path / "other", "--out", tmp_path / "toy", "--name", "toy")

    assert found["id"] == load(model).id


def test_a_session_that_an_analyst_confirmed_as_attacked_is_not_learned_from(tmp_path: Path) -> None:
    late = T0 + 3_600_000
    exported(
        tmp_path / "labelled",
        [*life()],
        *(verdict(late, session_id=f"s-{number}") for number in range(HONEST, HONEST + ATTACKED)),
        verdict(late, "false_positive", session_id="s-1"),
    )

    vectors = data_in(tmp_path / "labelled")
    trained = train(vectors, None, name="toy", seed=1)

    assert trained.card["data"]["attacked_sessions_left_out"] == ATTACKED
    assert trained.card["data"]["rows"] <= HONEST * EACH


def test_verdicts_teach_a_second_stage_and_other_sessions_measure_it(
    tmp_path: Path,
) -> None:
    late = T0 + 3_600_000
    session_feedbacks = [
        verdict(late, "true_positive" if number >= 50 else "false_positive", session_id=f"s-{number}")
        for number in range(10, HONEST + ATTACKED)
    ]
    exported(tmp_path / "labelled", [*life()], *session_feedbacks)
    found = json_of("train", tmp_path / "labelled", "--out", tmp_path / "toy")

    labelled = (HONEST + ATTACKED - 10) * EACH
    measured = found["metrics"]["attack_rows"] + found["metrics"]["honest_rows"]
    assert 0 < measured < labelled / 2
    assert found["fit"]["second_stage"] == f"learned from {labelled - measured:,} labelled vectors"
    assert load(tmp_path / "toy").second is not None


def test_with_few_verdicts_there_is_no_second_stage_and_the_card_says_so(tmp_path: Path) -> None:
    few = [verdict(T0 + 3_600_000, "false_positive", session_id=f"s-{number}") for number in range(21)]
    exported(tmp_path / "labelled", [*life()], *few, verdict(T0 + 3_600_000, "unsure", session_id="s-60"))

    found = json_of("train", tmp_path / "labelled", "--out", tmp_path / "toy")

    assert found["fit"]["second_stage"] == (
        "none: 0 attacked and 21 honest sessions are labelled; the second stage needs 5 and 20, "
        "so the model is trained without it"
    )
    assert load(tmp_path / "toy").second is None


def test_data_to_test_on_leaves_every_honest_session_to_learn_from(data: Path, tmp_path: Path) -> None:
    found = json_of("train", data, "--test", data, "--out", tmp_path / "toy")

    assert found["data"]["rows"] == HONEST * EACH
    assert found["metrics"]["on"] == "export"
    assert found["metrics"]["moved_features"] == []


def test_without_known_attacks_the_card_says_so_and_has_no_plots(tmp_path: Path) -> None:
    exported(tmp_path / "plain", [*life()])

    found = json_of("train", tmp_path / "plain", "--out", tmp_path / "toy")

    assert found["metrics"] == {"not_measured": "neither truth nor verdicts name both attacks and honest sessions"}
    assert [name for name in files(tmp_path / "toy") if name.endswith(".png")] == []


def test_pictures_of_the_model_before_do_not_stay(data: Path, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "old.png").write_bytes(b"")

    json_of("train", data, "--out", tmp_path / "toy")

    assert "old.png" not in files(tmp_path / "toy")


def test_too_few_vectors_are_refused_with_how_many_there_were(tmp_path: Path) -> None:
    exported(tmp_path / "few", [*life()][:900])

    done = run("train", tmp_path / "few", "--out", tmp_path / "toy")

    assert done.exit_code == 2
    assert f"{tmp_path / 'few'}: training needs at least 1,000 scored vectors" in done.stderr
    assert not (tmp_path / "toy").exists()


def test_of_more_vectors_than_are_needed_a_share_is_drawn_and_every_attack_stays(data: Path) -> None:
    every = Vectors.together(parts_in(data)[1])

    some = sample(iter([every]), len(every), limit=500)

    assert 300 < int((some.truth_label == "benign").sum()) < 700
    assert int((some.truth_label == "attack").sum()) == ATTACKED * EACH
    assert some.event_id.tolist() == sample(iter([every]), len(every), limit=500).event_id.tolist()
    assert len(sample(iter([every]), len(every))) == len(every)


# --- Reports ----------------------------------------------------------------------------------------------


def test_an_evaluation_shows_the_same_as_text_and_as_json(data: Path, model: Path) -> None:
    found, shown = json_of("evaluate", model, data), run("evaluate", model, data).stdout

    assert found["model"] == load(model).id
    assert found["auc"] > 0.99
    assert [row["family"] for row in found["families"]] == ["theft"]
    lines = [line.split() for line in shown.splitlines()]
    assert ["area", "under", "the", "ROC", "curve", str(found["auc"])] in lines
    assert ["theft", "5", "5", "5", "0.0"] in lines


@pytest.mark.parametrize(
    ("changed", "on_training_data", "sentence"),
    [
        ("nothing", True, "it was trained on this data: the figures show what it remembers"),
        ("labels", True, "it was trained on this data: the figures show what it remembers"),
        ("a feature", False, "it was not trained on this data as a whole"),
        ("the card", None, "whether it was trained on this data is not known"),
    ],
)
def test_an_evaluation_says_whether_the_model_was_trained_on_this_data(
    data: Path, model: Path, tmp_path: Path, changed: str, on_training_data: bool | None, sentence: str
) -> None:
    vectors = [*life()]
    if changed == "a feature":
        vectors[-1]["values"][FEATURE_NAMES[-1]] += 1
    verdicts = [verdict(T0 + 3_600_000, "false_positive", session_id="s-1")] if changed == "labels" else []
    exported(tmp_path / "data", vectors, *verdicts, truth=truths()[1:] if verdicts else truths())
    copytree(model, tmp_path / "model")
    if changed == "the card":  # as one of a version before
        card = json.loads((model / "card.json").read_text("utf-8"))
        del card["data"]["input_sha256"]
        (tmp_path / "model" / "card.json").write_text(json.dumps(card), "utf-8")

    found = json_of("evaluate", tmp_path / "model", tmp_path / "data")
    shown = run("evaluate", tmp_path / "model", tmp_path / "data").stdout

    assert found["on_training_data"] is on_training_data
    assert sentence in " ".join(shown.split())


def test_events_tell_recordings_apart_and_labels_and_compression_do_not(tmp_path: Path) -> None:
    def input_sha256(
        name: str, calls: list[dict[str, Any]], *, label: bool = False, packed: bool = False
    ) -> str | None:
        with write(tmp_path / name, "gz" if packed else "") as writer:
            for event in calls:
                writer.event(API_CALLS, event)
            if label:
                writer.truth(truths()[0])
        return data_in(tmp_path / name).input_sha256

    calls = [{name: value for name, value in call(at).items() if value is not None} for at in range(3)]

    plain = input_sha256("plain", calls)
    assert plain == input_sha256("packed", calls, packed=True) == input_sha256("labelled", calls, label=True)
    assert plain != input_sha256("shorter", calls[:2])


def test_a_card_says_whether_the_model_was_evaluated_on_its_training_data(data: Path, tmp_path: Path) -> None:
    exported(tmp_path / "other", [*life(shift=0.1)], truth=truths())

    tested = {
        name: json_of("train", data, *test, "--out", tmp_path / name)["metrics"]["on_training_data"]
        for name, test in (("held", ()), ("same", ("--test", data)), ("elsewhere", ("--test", tmp_path / "other")))
    }

    assert tested == {"held": False, "same": True, "elsewhere": False}


def test_a_hash_of_vectors_does_not_depend_on_the_parts_in_which_they_are_read(data: Path) -> None:
    every = Vectors.together(parts_in(data)[1])
    hashes = set()
    for size in (7, 1_000, len(every)):
        digest = sha256()
        parts = [every.take(np.arange(at, min(at + size, len(every)))) for at in range(0, len(every), size)]
        assert len([*digested(parts, digest)]) == len(parts)
        hashes.add(digest.hexdigest())

    assert hashes == {data_in(data).input_sha256}


def test_an_evaluation_without_attacks_is_refused(model: Path, tmp_path: Path) -> None:
    exported(tmp_path / "plain", [vector(1), vector(2)])

    done = run("evaluate", model, tmp_path / "plain")

    assert (done.exit_code, done.stderr) == (
        2,
        (
            f"session-risk: {tmp_path / 'plain'}: neither ground truth nor verdicts label both attacks and honest "
            "sessions, so the model cannot be evaluated; use a labelled recording\n"
        ),
    )


def test_drift_lists_the_columns_that_moved_and_those_that_did_not(model: Path, tmp_path: Path) -> None:
    found = {}
    for name, shift in (("same", 0.0), ("moved", 1.0)):
        exported(tmp_path / name, [*life(shift)][: HONEST * EACH])
        found[name] = json_of("drift", tmp_path / name, "--model", model)

    words = {name: {row["verdict"] for row in item["columns"]} for name, item in found.items()}
    assert words == {"same": {"stable"}, "moved": {"large"}}
    assert found["same"]["rows"] == HONEST * EACH
    assert found["same"]["sessions"] == HONEST
    assert len(found["same"]["columns"]) == len(FEATURE_NAMES) + 1
    assert found["same"]["training_rows"] == getattr(load_reference(model), "rows", None)
    shown = run("drift", tmp_path / "moved", "--model", model).stdout.splitlines()
    assert shown[1] == f"{len(FEATURE_NAMES) + 1} large"


def test_drift_from_a_model_without_training_data_is_refused(data: Path, model: Path, tmp_path: Path) -> None:
    save(load(model), tmp_path / "bare", {})

    done = run("drift", data, "--model", tmp_path / "bare")

    assert (done.exit_code, done.stderr) == (
        2,
        (
            f"session-risk: {tmp_path / 'bare'}: has no training data to compare with; train it again with "
            "`session-risk train`\n"
        ),
    )
