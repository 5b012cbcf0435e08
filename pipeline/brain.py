"""What decides: a policy and a model, exchanged between chunks and shared by all stages of a worker.

Challengers look on: what they would decide is recorded (:mod:`pipeline.shadow`) and changes nothing. Drift is
counted of what the detector scores, where it is known what it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from models.detector import Detector, NoDetector
from models.roles import Roles
from pipeline.challenger import Challenger
from pipeline.decision import Judge
from pipeline.drifting import LiveDrift
from pipeline.policy import Policy


@dataclass(slots=True)
class Brain:
    """The judge and the model in force: a detector, and the roles it knows, if any.

    Assigning one is the exchange: a chunk sees one of each.
    """

    judge: Judge = field(default_factory=lambda: Judge(Policy()))
    detector: Detector = field(default_factory=NoDetector)
    challengers: tuple[Challenger, ...] = ()
    drift: LiveDrift | None = None
    roles: Roles | None = None

    def use_policy(self, policy: Policy) -> None:
        """Decide by *policy* from the next chunk on."""
        self.judge = Judge(policy)

    def use_model(self, detector: Detector, roles: Roles | None) -> None:
        """Score by *detector*, and hold sessions against *roles*, from the next chunk on."""
        self.detector, self.roles = detector, roles
