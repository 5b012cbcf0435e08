"""What decides: a policy and a model, exchanged between chunks and shared by all stages of a worker."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.detector import Detector, NoDetector
from models.roles import Roles
from pipeline.decision import Judge
from pipeline.policy import Policy


@dataclass(slots=True)
class Brain:
    """The judge and the model in force: a detector, and the roles it knows, if any.

    Assigning one is the exchange: a chunk sees one of each.
    """

    judge: Judge = field(default_factory=lambda: Judge(Policy()))
    detector: Detector = field(default_factory=NoDetector)
    roles: Roles | None = None

    def use_policy(self, policy: Policy) -> None:
        """Decide by *policy* from the next chunk on."""
        self.judge = Judge(policy)

    def use_model(self, detector: Detector, roles: Roles | None) -> None:
        """Score by *detector*, and hold sessions against *roles*, from the next chunk on."""
        self.detector, self.roles = detector, roles
