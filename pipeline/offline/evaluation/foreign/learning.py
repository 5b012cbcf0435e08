"""Learning from labelled worlds: what every detector of many companies has in common is in their labelled vectors.

A replay in `observe` mode scores every event; the vectors of a session are thinned to :data:`PER_SESSION` before an
attack and as many from its beginning on, so that no session outweighs others. All honest vectors calibrate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.artefacts import ROLES, load, load_roles, pack, save
from models.detectors.labelled import Labels
from models.detectors.trained import Trained
from models.features.table import as_seen_by_models
from models.model_card import read as read_card
from models.state.table import SessionTable
from pipeline.decisions.policy import Policy
from pipeline.offline.evaluation.foreign.labelled import LabelledWorld, read_world
from pipeline.offline.evaluation.foreign.observed import key_of
from pipeline.offline.evaluation.foreign.replaying import replayed
from pipeline.offline.evaluation.play import Model
from pipeline.offline.replay.labels import SessionKey
from pipeline.sessions.fast_path import ScoredChunk

PER_SESSION: Final = 20
"""Vectors of a session that are learned from, before an attack and from it on."""


@dataclass(frozen=True)
class LabelledVectors:
    """Vectors of judged sessions, in order of arrival: ``(n, f)`` and ``(n,)``.

    *sessions* are numbers of sessions, unique within one world.
    """

    seen: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    attack: NDArray[np.bool_]
    sessions: NDArray[np.int64]

    def thinned(self) -> LabelledVectors:
        """At most :data:`PER_SESSION` vectors of each session and label, evenly spread over its time."""
        _, owner = np.unique(self.sessions * 2 + self.attack, return_inverse=True)
        order = np.argsort(owner, kind="stable")
        starts = np.searchsorted(owner[order], np.arange(owner.max(initial=-1) + 2))
        spread = [
            order[np.unique(np.linspace(start, end - 1, PER_SESSION).astype(np.int64))]
            for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ]
        return self.take(np.sort(np.concatenate(spread)) if spread else np.zeros(0, np.int64))

    def take(self, chosen: NDArray[Any]) -> LabelledVectors:
        """Those at the indexes, or where it is true, in *chosen*."""
        return LabelledVectors(self.seen[chosen], self.kinds[chosen], self.attack[chosen], self.sessions[chosen])


class Collector:
    """Collects the vectors of judged sessions; pass :meth:`look` to the session processor as its ``onlooker``."""

    def __init__(self, world: LabelledWorld) -> None:
        self._world = world
        self._numbers: dict[SessionKey, int] = {key: number for number, key in enumerate(world.sessions)}
        self._parts: list[LabelledVectors] = []

    def look(self, table: SessionTable, chunk: ScoredChunk) -> None:
        """Add the vectors of a chunk."""
        folded = chunk.folded
        keys = [key_of(table.names[row]) for row in folded.seg.keys.tolist()]
        known = [self._world.sessions.get(key) for key in keys]
        number = np.array([self._numbers.get(key, -1) for key in keys], np.int64)[folded.seg.of]
        honest_until = np.array([seen.false_until if seen else 0 for seen in known], np.int64)[folded.seg.of]
        attacked = np.array([bool(seen and seen.is_attacked) for seen in known], np.bool_)[folded.seg.of]
        attack = attacked & (folded.at >= honest_until)
        judged = np.flatnonzero((number >= 0) & (attack | (folded.at < honest_until)))
        if judged.size:
            kinds = folded.facts["kind"][judged].astype(np.uint8)
            seen = as_seen_by_models(np.ascontiguousarray(folded.values[:, judged]))
            self._parts.append(LabelledVectors(seen, kinds, attack[judged], number[judged]))

    def vectors(self) -> LabelledVectors:
        """All that were collected."""
        return together(self._parts)


def together(parts: Sequence[LabelledVectors]) -> LabelledVectors:
    """The vectors of *parts*, one part after another."""
    columns = [[getattr(part, name) for part in parts] for name in ("seen", "kinds", "attack", "sessions")]
    return LabelledVectors(*map(np.concatenate, columns))


def vectors_of(folder: Path, model: Model) -> LabelledVectors:
    """The labelled vectors of the world in *folder*, with the roles of *model*.

    Raises:
        RecordingError: the world cannot be read.
    """
    collector = Collector(read_world(folder))
    for _ in replayed(folder, Policy(mode="observe"), model, collector.look):
        pass
    return collector.vectors()


def learn(detector: Trained, worlds: Iterable[LabelledVectors]) -> Trained:
    """*detector* with a second stage that was learned from the vectors of *worlds*.

    Raises:
        TooFewLabels: the worlds have fewer attacks than a second stage needs.
    """
    learned, honest, first = [], [], 0
    for vectors in worlds:
        few = vectors.thinned()
        learned.append(LabelledVectors(few.seen, few.kinds, few.attack, few.sessions + first))
        honest.append(vectors.take(~vectors.attack))
        first += int(vectors.sessions.max(initial=-1)) + 1
    few, normal = together(learned), together(honest)
    return detector.with_labels(
        Labels(few.seen, few.kinds, few.attack, few.sessions, len(learned)), normal.seen, normal.kinds
    )


def fit_model(source: Path, folders: Sequence[Path], out: Path, tell: Callable[[str], None]) -> Trained:
    """Teach the model in *source* the attacks in the worlds in *folders*, and write it with its roles to *out*.

    The bins of its training data are left out: they are of other data and of its former scores.

    Raises:
        BadModel: the model in *source* cannot be used.
        RecordingError: a world cannot be read.
        TooFewLabels: the worlds have too few attacks.
    """
    detector, roles = load(source), load_roles(source)
    worlds = []
    for number, folder in enumerate(folders, start=1):
        worlds.append(vectors_of(folder, Model(detector, roles)))
        tell(f"world {number} of {len(folders)}: {folder.name}, {len(worlds[-1].kinds):,} vectors")
    taught = learn(detector, worlds)
    card = {name: value for name, value in read_card(source).items() if name not in _NOT_COPIED}
    attacks = sum(int(np.unique(vectors.sessions[vectors.attack]).size) for vectors in worlds)
    card["fit"] = {**card["fit"], "second_stage": f"learned from {attacks:,} attacks in {len(worlds)} labelled worlds"}
    out.mkdir(parents=True, exist_ok=True)
    save(taught, out, card, {} if roles is None else {ROLES: pack(roles.arrays)})
    return taught


_NOT_COPIED: Final = {"name", "id", "kind", "feature_set", "features", "sha256", "metrics"}
"""Members of the card that :func:`models.artefacts.save` writes, and what was measured before."""
