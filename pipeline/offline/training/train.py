"""Training: fit a model on honest vectors, evaluate it on known attacks, and describe both in its card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.artefacts import ROLES, pack, window
from models.detectors.drift import Drift, Reference, Tally
from models.detectors.labelled import Labels, TooFewLabels
from models.detectors.trained import METHOD, fit
from models.detectors.trained import Trained as Detector
from models.features.table import FEATURE_NAMES
from models.model_card import REFERENCE
from models.roles.cohort_fit import CREDIBILITY_SESSIONS, MIN_CALLS, MIN_SESSIONS
from models.roles.cohorts import MAX_TENANTS
from models.roles.roles import Roles
from pipeline.offline.training.quality import Quality, known_rows, quality
from pipeline.offline.training.vectors import Vectors, by_hash, drawn

ROWS: Final = 200_000
"""About the maximum number of vectors to train on: more do not improve the model."""
HELD_OUT: Final = 0.2
"""Share of honest sessions held out for evaluation, if attacks are known."""


@dataclass(frozen=True, slots=True)
class Data:
    """Vectors: all of MEDIUM and HIGH and *low_share* of LOW; *kind* describes where they come from.

    *roles* are those with which the surprise of calls was computed: the model must contain them. *input_sha256* tells
    the data that they were read from apart from other data, None if it is not known; labels are not part of it.
    *left_out* has numbers of vectors that are not included, by the model that scored them with other or unknown roles.
    """

    vectors: Vectors
    low_share: float
    kind: str
    roles: Roles | None = None
    input_sha256: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted model, the content of its card, and the files beside it."""

    detector: Detector
    card: dict[str, Any]
    files: dict[str, bytes]


def sample(parts: Iterable[Vectors], rows: int, limit: int = ROWS) -> Vectors:
    """Return about *limit* of the *rows* in *parts*, drawn by session and event; all vectors of attacks stay."""
    share = min(1.0, limit / max(1, rows))
    return Vectors.together(part.take(_drawn_or_labelled(part, share)) for part in parts)


def train(data: Data, test: Data | None, *, name: str, seed: int, method: str = METHOD) -> Trained:
    """Fit a model called *name* on *data* and evaluate it on *test*, else on held-out vectors.

    Raises:
        ValueError: too few honest vectors.
    """
    attacked = attacked_sessions(data.vectors)
    honest, vectors, held = _parts(data, attacked, set_aside=test is None)
    detector = fit(honest.values, honest.kinds, name=name, seed=seed, method=method)
    detector, second = _second_stage(detector, honest, vectors)
    if detector.second is not None:  # do not evaluate it on what it learned from
        learned = set(vectors.sessions)
        held = held.take(np.array([session not in learned for session in held.sessions], np.bool_))
    scores = honest.scores(detector)
    reference = Reference.from_rows(FEATURE_NAMES, honest.values, scores)
    found, moved = _measured(detector, reference, test or Data(held, data.low_share, data.kind))
    card = {
        "data": {
            "kind": data.kind,
            "window": window(int(honest.occurred_at.min()), int(honest.occurred_at.max())),
            "rows": len(honest),
            "sessions": len(set(honest.sessions)),
            "share_of_low": round(data.low_share, 6),
            "attacked_sessions_left_out": len(attacked),
            "policies": sorted(set(honest.policy.tolist())),
            **({"scored_with_other_roles_left_out": dict(data.left_out)} if data.left_out else {}),
            "input_sha256": data.input_sha256,
            "sha256": sha256(np.ascontiguousarray(honest.values).tobytes()).hexdigest(),
        },
        "fit": {"seed": seed, "method": method, "second_stage": second},
        "thresholds": [round(float(threshold), 6) for threshold in detector.thresholds],
        "metrics": _metrics(found, moved, test or f"{data.kind}, held out", data.input_sha256),
    }
    parts = {REFERENCE: pack(reference.arrays)}
    if data.roles is not None:
        parts[ROLES] = pack(data.roles.arrays)
        card["roles"] = [label for label in data.roles.labels.ravel().tolist() if label]
        card["cohorts"] = _cohorts(data.roles, honest)
    return Trained(detector, card, {**parts, **_plots(found, moved)})


def is_training_data(input_sha256: str | None, data: Data) -> bool | None:
    """Whether *data*, as a whole, is what a model with this *input_sha256* was trained on; None if not known."""
    return None if input_sha256 is None or data.input_sha256 is None else input_sha256 == data.input_sha256


def _cohorts(roles: Roles, honest: Vectors) -> dict[str, Any]:
    """For the card: which tenants have cohorts; without their names, as a model may be passed on."""
    records = roles.cohorts.summary
    return {
        "tenants_in_the_data": len(set(honest.tenant.tolist())),
        "with_cohorts_of_their_own": len(records),
        "sample": MAX_TENANTS,
        "learned_from": f"{MIN_SESSIONS} sessions of a tenant in a role at least, and {MIN_CALLS} calls",
        "weight_of_its_own": f"n / (n + {CREDIBILITY_SESSIONS:g}) of n sessions, the rest is that of all tenants",
        **({"tenant_is": "32 bits of BLAKE2b of its name", "tenants": records} if records else {}),
    }


def attacked_sessions(vectors: Vectors) -> set[tuple[str, str]]:
    """Return the sessions that ground truth or a verdict labels as attacked; none of their vectors is normal."""
    bad = (vectors.truth_label == "attack") | (vectors.label == 1)
    return set(vectors.take(bad).sessions)


def _parts(data: Data, attacked: set[tuple[str, str]], *, set_aside: bool) -> tuple[Vectors, Vectors, Vectors]:
    """Split into honest rows to train on, rows with verdicts, and rows to evaluate on.

    With *set_aside*, if attacks are known, a share of the sessions is held out of training.
    """
    vectors = data.vectors
    bad = np.array([session in attacked for session in vectors.sessions], np.bool_)
    aside = np.zeros(len(vectors), np.bool_)
    if attacked and set_aside:
        aside = by_hash(["/".join(session) for session in vectors.sessions], HELD_OUT)
    honest = vectors.take(~bad & ~aside & drawn(vectors, data.low_share))
    return honest, vectors.take(~aside & (vectors.label >= 0)), vectors.take(bad | aside)


def _second_stage(detector: Detector, honest: Vectors, vectors: Vectors) -> tuple[Detector, str]:
    """*detector* with a second stage learned from verdicts, if there are enough, and a sentence for the card."""
    labels = Labels(vectors.seen, vectors.kinds, vectors.label == 1, vectors.session_numbers)
    try:
        refined = detector.with_labels(labels, honest.seen, honest.kinds)
    except TooFewLabels as error:
        return detector, f"none: {error}"
    return refined, f"learned from {len(labels.attack):,} labelled vectors"


def _measured(detector: Detector, reference: Reference, test: Data) -> tuple[Quality | None, list[Drift]]:
    """The quality of the model on *test*, and the drift of its honest part from the training data."""
    scores = test.vectors.scores(detector)
    rows = known_rows(test.vectors, scores, test.low_share)
    if rows is None:
        return None, []
    honest = test.vectors.honest if rows.by == "truth" else test.vectors.label == 0
    fair = honest & drawn(test.vectors, test.low_share)
    tally = Tally(reference)
    tally.add(test.vectors.values[fair], scores[fair])
    return quality(rows), tally.drift()


def _metrics(found: Quality | None, moved: list[Drift], test: Data | str, input_sha256: str | None) -> dict[str, Any]:
    """The quality *found* on *test*, which is described if it is a part that was held out, for the card."""
    if found is None:
        return {"not_measured": "neither truth nor verdicts name both attacks and honest sessions"}
    return {
        "on": test if isinstance(test, str) else test.kind,
        "on_training_data": False if isinstance(test, str) else is_training_data(input_sha256, test),
        **found.plain,
        "moved_features": [
            {"feature": drift.name, "psi": round(drift.psi, 4), "verdict": drift.verdict}
            for drift in sorted(moved, key=lambda drift: -drift.psi)
            if drift.verdict in ("moderate", "large")
        ],
    }


def _plots(found: Quality | None, moved: list[Drift]) -> dict[str, bytes]:
    if found is None:
        return {}
    from pipeline.offline.training import plots  # noqa: PLC0415 - matplotlib takes a second to import

    return {**plots.quality_plots(found), **(plots.drift_plots(moved) if moved else {})}


def _drawn_or_labelled(vectors: Vectors, share: float) -> NDArray[np.bool_]:
    identities = zip(vectors.sessions, vectors.event_id.tolist(), vectors.occurred_at.tolist(), strict=True)
    names = ["/".join((*session, str(event_id), str(at_ms))) for session, event_id, at_ms in identities]
    known = (vectors.truth_label == "attack") | (vectors.label >= 0)
    return np.asarray(known | by_hash(names, share), np.bool_)
