"""What the order of calls adds: thieves who keep the owner's client, network and device, found with and without it.

The recipe of CLUE-LDS (Landauer et al. 2022): in an honest recording that no model saw, a session's calls are from
some moment on those of somebody in another role, at the session's own times. Sessions left in peace are judged from
such a moment on as well. Prints, for each score and for so many calls after that moment, the area under the ROC curve
and the share of such sessions found while 1 % and 5 % of honest ones are suspected wrongly.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json
from sklearn.metrics import roc_auc_score

from models.detectors.trained import Trained, fit
from models.events.columns import PRINCIPAL_KIND
from models.features.table import FEATURE_NAMES, as_seen_by_models
from models.roles.roles import Roles
from models.updates.call_sequence import SEQUENCE
from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.decisions.policy import read_policy
from pipeline.offline.replay.recording import InputRecord, write
from pipeline.offline.replay.runner import Replay
from pipeline.offline.simulation import simulate
from pipeline.offline.training.roles import learn_roles
from pipeline.sessions.processor import Options
from schemas.topics import API_CALLS, SESSION_FEATURES

Event = dict[str, Any]
Vectors = NDArray[np.float64]
DOES = (
    "operation",
    "method",
    "status",
    "bytes_in",
    "bytes_out",
    "records",
    "sensitivity",
    "resource",
    "tool",
    "latency_ms",
)
LEARNED_FROM, HELD_OUT, HOURS, PRINCIPALS = 7, 11, 24.0, 150
FOREVER = 2**62
VICTIMS = 3
"""One in so many sessions at a desk is taken over."""
CALLS = (3, 10, 30)
"""After so many of the thief's calls a session is judged by the highest score until then."""


class Scored(NamedTuple):
    """An event and what was scored after it."""

    session: str
    event_id: str
    at: int
    values: list[float]
    kind: int


def vectors(records: Iterator[InputRecord], roles: Roles, share: float) -> Iterator[Scored]:
    """A *share* of the scored events, by the stages that serve."""
    active = ActiveConfig(roles=roles)
    active.use_policy(read_policy(None).model_copy(update={"low_features_share": share}))
    for message in Replay(processor_specs(active, Options(event_clock=True))).run(records):
        if message.topic == SESSION_FEATURES:
            details = from_json(message.value)
            values = [details["values"][name] for name in FEATURE_NAMES]
            kind = PRINCIPAL_KIND[details["principal_kind"] or ""]
            yield Scored(details["session_id"], details["event_id"], details["occurred_at"], values, kind)


def records_of(events: list[tuple[str, Event]]) -> Iterator[InputRecord]:
    """The events as lines of a recording."""
    for line, (topic, event) in enumerate(events):
        yield InputRecord(topic, line, json.dumps(event).encode(), event["occurred_at"])


def taken_over(events: list[tuple[str, Event]], role_of: dict[str, str], seed: int) -> tuple[dict[str, int], set[str]]:
    """Let thieves go on in some sessions of *events*, in place; the moment of each session, ms, and the victims."""
    random = np.random.default_rng(seed)
    calls: dict[str, list[Event]] = {}
    for topic, event in events:
        at_desk = (event.get("device_id") or "").startswith("laptop")
        if topic == API_CALLS and at_desk and event["principal_kind"] == "human":
            calls.setdefault(event["session_id"], []).append(event)
    long = sorted(session for session, made in calls.items() if len(made) >= 3 * CALLS[-1])
    before = {session: [{name: call.get(name) for name in DOES} for call in calls[session]] for session in long}
    first = {session: int(random.integers(len(made) // 3, 2 * len(made) // 3)) for session, made in calls.items()}
    for session in long[::VICTIMS]:
        own = calls[session]
        role = role_of[own[0]["principal_id"]]
        donors = [this_name for this_name in long if role_of[calls[this_name][0]["principal_id"]] != role]
        does = before[donors[int(random.integers(len(donors)))]]
        for at, event in enumerate(own[first[session] :]):
            event.update(does[at % len(does)])
            for name in [name for name in DOES if event[name] is None]:
                del event[name]
    return {session: calls[session][first[session]]["occurred_at"] for session in long}, set(long[::VICTIMS])


def learned() -> tuple[Roles, Trained, Trained]:
    """Roles, and detectors with and without the sequence side, from honest life."""
    with TemporaryDirectory() as folder:
        recording = Path(folder) / "recording"
        events = list(simulate(LEARNED_FROM, HOURS, PRINCIPALS, attack_share=0.0))
        with write(recording) as writer:
            for topic, event in events:
                writer.event(topic, event)
        roles = learn_roles(recording, left_out=set(), seed=LEARNED_FROM)
    if roles is None:
        raise SystemExit("a simulation without calls teaches no roles")
    examples = list(vectors(records_of(events), roles, 0.2))
    rows, kinds = np.array([example.values for example in examples]), kinds_of(examples)
    blind = rows.copy()
    blind[:, [FEATURE_NAMES.index(name) for name in SEQUENCE]] = 0.0
    return roles, fit(rows, kinds, name="with", seed=7), fit(blind, kinds, name="without", seed=7)


def kinds_of(scored_events: list[Scored]) -> NDArray[np.uint8]:
    """The numbers of the principals' kinds, ``(n,)``."""
    return np.array([event.kind for event in scored_events], np.uint8)


def scored(values: Vectors, kinds: NDArray[np.uint8], full: Trained, blind: Trained) -> dict[str, Vectors]:
    """Every score of the vectors, ``(n,)`` each."""
    columns = dict(zip(FEATURE_NAMES, values.T, strict=True))
    covered = values.copy()
    covered[:, [FEATURE_NAMES.index(name) for name in SEQUENCE]] = 0.0
    return {
        "model without the sequence side": blind.score(as_seen_by_models(covered.T), kinds),
        "model with it": full.score(as_seen_by_models(values.T), kinds),
        **{f"{name} alone": columns[name] for name in SEQUENCE},
        "new_operations_10m alone": columns["new_operations_10m"],
    }


def main() -> None:
    """Learn, let sessions be taken over, find them."""
    roles, full, blind = learned()
    print(f"roles: {[label for label in roles.labels.ravel().tolist() if label]}")
    simulation = simulate(HELD_OUT, HOURS, PRINCIPALS, attack_share=0.0)
    events = list(simulation)
    people = {person.principal_id: person.role for person in simulation.population.people}
    began, victims = taken_over(events, people, HELD_OUT)
    calls = {event["event_id"] for topic, event in events if topic == API_CALLS}
    examples = [
        vector
        for vector in vectors(records_of(events), roles, 1.0)
        if vector.event_id in calls and vector.at >= began.get(vector.session, FOREVER)
    ]
    print(f"{len(victims)} of {len(began)} sessions at a desk are taken over")
    scores = scored(np.array([example.values for example in examples]), kinds_of(examples), full, blind)
    for most in CALLS:
        report(most, [example.session for example in examples], scores, victims)


def report(most: int, session: list[str], scores: dict[str, Vectors], victims: set[str]) -> None:
    """Print how well each score tells victims after *most* calls."""
    made: Counter[str] = Counter()
    highest: dict[str, dict[str, float]] = {name: {} for name in scores}
    for at, this_name in enumerate(session):
        made[this_name] += 1
        if made[this_name] <= most:
            for name, values in scores.items():
                highest[name][this_name] = max(highest[name].get(this_name, -np.inf), float(values[at]))
    attacked = np.array([item in victims for item in made])
    print(f"{f'after {most} calls':<36} {'AUC':>6} {'at 1 %':>7} {'at 5 %':>7}")
    for name, of in highest.items():
        value = np.array([of[item] for item in made])
        found = [(value[attacked] > np.quantile(value[~attacked], 1 - wrong)).mean() for wrong in (0.01, 0.05)]
        print(f"{name:<36} {roc_auc_score(attacked, value):6.3f} {found[0]:7.1%} {found[1]:7.1%}")


if __name__ == "__main__":
    main()
