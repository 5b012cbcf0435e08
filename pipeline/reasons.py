"""The reasons of a decision: each part of its score with what was seen and what is normal, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from models.detector import BANDS, Moved
from models.sequence import SEQUENCE
from pipeline import wording
from pipeline.case import Episode
from pipeline.moment import ANOMALY, Contribution
from pipeline.rules import BIT, RULES, Limits, Rule

_ORDER_TEXT: Final = "The session makes calls, or an order of calls, that its role does not use."
MODEL_TEXT: Final = "The session behaves unlike the sessions the model learned from."
_TRUST_TEXT: Final = "A factor was proved a short while ago."


def reasons(
    parts: Sequence[Contribution], limits: tuple[Limits, ...], moved: list[Moved], transition: str = ""
) -> list[dict[str, Any]]:
    """What was added up, largest first, each part with what was seen and what is normal.

    *transition* names the call before and the call, where this call after that one is rare.
    """
    return [_reason(part, limits, moved, transition) for part in parts]


def _reason(
    part: Contribution, limits: tuple[Limits, ...], moved: list[Moved], transition: str
) -> dict[str, Any]:
    if part.detection == ANOMALY:
        return _anomaly(part, moved, transition)
    if part.episode is None:
        contribution = {"contribution": part.log_odds}
        return {"detection": part.detection, "text": _TRUST_TEXT, "severity": "LOW", **contribution}
    index = BIT[part.detection]
    rule = RULES[index]
    return {
        "detection": rule.id,
        "text": rule.text,
        "severity": rule.severity,
        "attack": list(rule.attack),
        "contribution": 0.0 if part.muted else part.log_odds,
        "observed": _observed(rule, part.episode),
        "normal": rule.normal.format(**limits[index]) + _usually(part.episode),
        "evidence": list(part.episode.evidence),
        "first_at": part.episode.first_at,
        "last_at": part.episode.last_at,
    }


def _observed(rule: Rule, episode: Episode) -> str:
    """A context's own words, a number with its unit, or what a rule without a number always sees."""
    name, unit = rule.observed
    return episode.told or (f"{episode.observed:.4g} {unit}" if name else unit)


def _usually(episode: Episode) -> str:
    """What is usual for the principal, and in its role: at its tenant, where that has its own cohort."""
    told = "" if episode.usual is None else f"; here usually ≤ {episode.usual:.4g}"
    if episode.role_usual is None:
        return told
    where = "role at this tenant" if episode.at_tenant else "role"
    return f"{told}; in its {where} usually ≤ {episode.role_usual:.4g}"


def _anomaly(part: Contribution, moved: list[Moved], transition: str) -> dict[str, Any]:
    """The model's word: what moved its score as sentences, and once more by the features' names."""
    order = bool(moved) and moved[0].feature in SEQUENCE
    text = _ORDER_TEXT if order else MODEL_TEXT
    pieces = [*([transition] if order and transition else []), *map(wording.piece, moved)]
    seen = [f"{one.feature} {wording.number(one.observed)}" for one in moved]
    usual = [f"{one.feature} {wording.bound(one)}" for one in moved]
    return {
        "detection": ANOMALY,
        "text": wording.together(f"{text[:-1]}: ", pieces, 512) if moved else text,
        "severity": "LOW",
        "contribution": part.log_odds,
        "observed": wording.together("", seen, 256) or "score above the usual",
        "normal": wording.together("", usual, 256) or f"below the {BANDS[0]:.0%} quantile",
    }
