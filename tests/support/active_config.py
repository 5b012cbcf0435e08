"""Something in force, with models that are only names: a policy file, orders, and what was complained of."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.artefacts import BadModel
from models.detectors.base import Detector, NoDetector
from models.roles.roles import Roles
from pipeline.control.reloader import ConfigReloader, InitialConfig, Models
from pipeline.processing.processor import InMemoryRecord
from schemas.topics import MODEL_CONTROL
from tests.support.role_samples import sample_roles


class Named(NoDetector):
    """A detector that is only a name."""

    def __init__(self, name: str) -> None:
        self.id = f"{name}@0"

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.ones(len(seen))


@dataclass(frozen=True, slots=True)
class Shelf(Models):
    """Models that need no folder; those in *broken* cannot be loaded."""

    broken: frozenset[str] = frozenset()

    def load(self, name: str) -> Detector:
        if name in self.broken:
            raise BadModel(f"{name} is broken")
        return Named(name)

    def reference(self, name: str) -> None:
        """Nobody knows what a mere name was trained on."""

    def roles(self, name: str) -> Roles | None:
        return sample_roles(len(name))


@dataclass
class Desk:
    """Something in force, and what it complained of."""

    broken: frozenset[str] = frozenset()
    policy_file: Path | None = None
    mode: Any = None
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        configured = InitialConfig(self.policy_file, "default", self.mode, Shelf(broken=self.broken))
        self.in_force = ConfigReloader(configured, self.complaints.append)

    def order(self, command: str, model: str, mode: str | None = None) -> None:
        fields = {"command": command, "model": model, "mode": mode, "issued_by": "ana", "occurred_at": 1}
        self.in_force.on_control_record(
            InMemoryRecord(MODEL_CONTROL, 0, 7, 1, model.encode(), json.dumps(fields).encode())
        )

    def look(self) -> None:
        """Look until what changed has stayed as it is."""
        self.in_force.check()
        self.in_force.check()

    @property
    def stands(self) -> tuple[str | None, str, list[str]]:
        found = self.in_force
        champion = found.active.detector.id.partition("@")[0]
        return champion, found.active.engine.policy.mode, sorted(found.challengers)


def write_policy(path: Path, text: str, at: int) -> None:
    path.write_text(f"{text}\n", encoding="utf-8")
    os.utime(path, (at, at))
