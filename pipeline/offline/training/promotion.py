"""Check of a model before it is promoted: the sessions of a recording that it would revoke and the champion would not.

Both decide on the same recording, by the policy of the settings in mode `enforce`: in `observe` nobody is revoked.
People pass the challenges, except in sessions that the ground truth calls attacked at that time. So what a model does
to honest people is measured, not who was away from the phone.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.control.reloader import Model
from pipeline.decisions.policy import read_policy
from pipeline.offline.replay.answers import Answers
from pipeline.offline.replay.labels import SessionKey, Truths
from pipeline.offline.replay.recording import TRUTH, read_truth
from pipeline.offline.training.comparison import SessionResult, results_on
from pipeline.settings.loading import Settings

NAMED: Final = 5
"""Maximum number of sessions that a sentence names."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the model *candidate* would revoke on *recording* where *champion* would not.

    Attributes:
        labelled: whether the recording has a ground truth, so that it is known which sessions are honest.
        honest: sessions that only the candidate revokes and that are honest; without ground truth none is.
        unknown: the same of which no ground truth says what they are.
        attacked: numbers of attacked sessions that the champion and the candidate revoke.
    """

    recording: Path
    champion: str
    candidate: str
    labelled: bool
    honest: list[SessionKey]
    unknown: list[SessionKey]
    attacked: tuple[int, int]

    def refusal(self) -> str:
        """Why the candidate is not promoted, empty if nothing speaks against it.

        If there is no ground truth, each session may be an honest one.
        """
        sessions = self.honest if self.labelled else self.unknown
        if not sessions:
            return ""
        what = "honest session" if self.labelled else "session"
        number = f"{len(sessions):,} {what}{'' if len(sessions) == 1 else 's'}"
        known = "" if self.labelled else f"; {self._without_truth()}"
        return (
            f"on {self.recording}, {self.candidate} revokes {number} that {self.champion} does not: "
            f"{_named(sessions)}{known}"
        )

    def summary(self) -> str:
        """The result of a comparison that speaks against nothing, as a sentence."""
        if not self.labelled:
            return (
                f"on {self.recording}, {self.candidate} revokes no session that {self.champion} does not; "
                f"{self._without_truth()}"
            )
        first, second = self.attacked
        unlabelled = f"; only it revokes {len(self.unknown):,} that {TRUTH}.jsonl does not name" if self.unknown else ""
        return (
            f"on {self.recording}, {self.candidate} revokes no honest session that {self.champion} does not; "
            f"of attacked sessions {self.candidate} revokes {second:,} and {self.champion} {first:,}{unlabelled}"
        )

    def _without_truth(self) -> str:
        return f"there is no {TRUTH}.jsonl, so nothing says which sessions are honest"


def compared(recording: Path, champion: Model, candidate: Model, settings: Settings) -> Comparison:
    """Replay *recording* with both models and return what differs.

    Raises:
        RecordingError: the recording or its ground truth cannot be read.
    """
    labelled = any(recording.glob(f"{TRUTH}.jsonl*"))
    truths = Truths(read_truth(recording) if labelled else ())
    policy = read_policy(settings.policy_file).model_copy(update={"mode": "enforce"})

    def passes(tenant: str, session_id: str, at_ms: int) -> bool:
        return truths.of((tenant, session_id)) is None or truths.is_honest(tenant, session_id, at_ms)

    first, second = (
        results_on(recording, model, policy, settings, Answers(passes, share=1.0)) for model in (champion, candidate)
    )
    return differing(
        recording, (champion[0].id, candidate[0].id), (_revoked(first), _revoked(second)), truths if labelled else None
    )


def differing(
    recording: Path,
    models: tuple[str, str],
    revoked: tuple[AbstractSet[SessionKey], AbstractSet[SessionKey]],
    truths: Truths | None,
) -> Comparison:
    """Return what differs between the sessions that two *models*, given by their ids, have *revoked*."""
    truth_of = (truths or Truths()).of
    labels = {key: truth.label if (truth := truth_of(key)) else None for key in revoked[0] | revoked[1]}
    added = sorted(revoked[1] - revoked[0])
    first, second = (sum(labels[key] == "attack" for key in keys) for keys in revoked)
    return Comparison(
        recording,
        *models,
        labelled=truths is not None,
        honest=[key for key in added if labels[key] == "benign"],
        unknown=[key for key in added if labels[key] is None],
        attacked=(first, second),
    )


def _revoked(results: Mapping[SessionKey, SessionResult]) -> set[SessionKey]:
    return {key for key, result in results.items() if result.revoked}


def _named(sessions: list[SessionKey]) -> str:
    names = ", ".join(f"{session_id} of tenant {tenant}" for tenant, session_id in sessions[:NAMED])
    return names if len(sessions) <= NAMED else f"{names}, and {len(sessions) - NAMED:,} more"
