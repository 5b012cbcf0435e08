"""What people said of sessions, as labels of the vectors that were scored shortly before they said it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
from pydantic_core import from_json

from models.detectors.labelled import Labels
from models.features import as_seen_by_models
from models.rolling import Bools
from pipeline.recording import InputRecord
from pipeline.vectors import SessionKey, Vectors
from schemas.members import DEFAULT_TENANT
from schemas.topics import SESSION_FEEDBACK

MEANT_MS: Final = 3_600_000
"""A verdict is about what its session did in so much time before it."""
ATTACKS: Final = ("confirmed_compromised", "true_positive")
HONEST: Final = ("false_positive", "benign_true_positive")


class Verdict(NamedTuple):
    """Whether a session was attacked, as people said at event time *at*, ms."""

    attack: bool
    at: int


def verdicts_in(records: Iterable[InputRecord]) -> dict[SessionKey, Verdict]:
    """The newest verdict on each session that is one; *unsure* says nothing, unreadable ones do neither."""
    told: dict[SessionKey, Verdict] = {}
    for record in records:
        if record.topic != SESSION_FEEDBACK:
            continue
        try:
            feedback = from_json(record.value)
            verdict, session = feedback["verdict"], feedback["session_id"]
            if verdict in (*ATTACKS, *HONEST):
                who = (feedback.get("tenant", DEFAULT_TENANT), session)
                told[who] = Verdict(verdict in ATTACKS, int(feedback["occurred_at"]))
        except (ValueError, TypeError, KeyError):
            continue  # replay counts it as a dead letter
    return told


def labels_of(vectors: Vectors, verdicts: Mapping[SessionKey, Verdict]) -> Labels:
    """The *vectors* that a verdict is about."""
    told = [verdicts.get(name) for name in vectors.names]
    at = np.array([one.at if one else -1 for one in told], np.int64)[vectors.sessions]
    attack = said_attacked(vectors, verdicts)
    chosen = np.flatnonzero((vectors.at <= at) & (vectors.at > at - MEANT_MS))
    seen = as_seen_by_models(np.ascontiguousarray(vectors.values[chosen].T))
    return Labels(seen, vectors.kinds[chosen], attack[chosen], vectors.sessions[chosen])


def said_attacked(vectors: Vectors, verdicts: Mapping[SessionKey, Verdict]) -> Bools:
    """Which vectors are of a session that people said was attacked, ``(n,)``."""
    told = [verdicts.get(name) for name in vectors.names]
    return np.array([one is not None and one.attack for one in told], np.bool_)[vectors.sessions]
