"""Explanations: the reasons of a decision, each with the observed and the normal value, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from models.detectors.base import BANDS, Moved
from models.features.table import FEATURES
from models.updates.call_sequence import SEQUENCE
from pipeline.decisions.decision import ANOMALY, TENANT_THRESHOLD, Contribution
from pipeline.decisions.risk_state import DetectionEpisode
from pipeline.detections import BIT, DETECTIONS, Detection, Limits

SEPARATOR: Final = "; "
"""Between the features of one reason."""
_FEATURE: Final = {feature.name: feature for feature in FEATURES}
_WINDOWS: Final = {"1m": " in 1 min", "10m": " in 10 min", "1h": " in 1 h"}
"""By the end of a feature's name."""
_BYTES: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_RANGES: Final = ("0 or 1", "0 to 1")
"""Units of features that are pure numbers; they only state the range."""
_MAX_TEXT: Final = 512
_MAX_VALUES: Final = 256
"""Lengths in characters that the schema of a reason allows."""


def number(value: float) -> str:
    """A number for people: three significant digits, but all digits before the decimal point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def amount(feature: str, value: float) -> str:
    """*value* of *feature* with its unit and window.

    >>> amount("records_10m", 412.0)
    '412 records in 10 min'
    >>> amount("bytes_out_1h", 5.21e9)
    '5.21 GB in 1 h'
    """
    unit = _FEATURE[feature].unit
    window = _WINDOWS.get(feature.rpartition("_")[2], "")
    if unit == "bytes":
        size, unit = next(((size, name) for size, name in _BYTES if abs(value) >= size), (1.0, unit))
        value /= size
    return f"{number(value)}{'' if unit in _RANGES else f' {unit}'}{window}"


def bound(moved: Moved) -> str:
    """The usual value: the bound that the observed one exceeds; the median if it is within both.

    >>> bound(Moved("records_10m", 412.0, 0.0, 4.0, 30.0)), bound(Moved("novelty", 0.5, 0.0, 0.25, 1.0))
    ('≤ 30', 'about 0.25')
    """
    if moved.observed > moved.upper:
        return f"≤ {_amount_without_window(moved.feature, moved.upper)}"
    if moved.observed < moved.lower:
        return f"≥ {_amount_without_window(moved.feature, moved.lower)}"
    return f"about {_amount_without_window(moved.feature, moved.usual)}"


def clause(moved: Moved) -> str:
    """One feature as a clause of a sentence.

    >>> clause(Moved("denied_10m", 12.0, 0.0, 0.0, 1.0))
    '12 calls in 10 min, usually ≤ 1 (calls answered with 401 or 403)'
    """
    description = _FEATURE[moved.feature].text.partition(",")[0]
    return f"{amount(moved.feature, moved.observed)}, usually {bound(moved)} ({description})"


def parse_clause(text: str) -> tuple[str, str, str]:
    """The parts of a :func:`clause`: observed value, usual value, description.

    >>> parse_clause("12 calls in 10 min, usually ≤ 1 (calls answered with 401 or 403)")
    ('12 calls in 10 min', '≤ 1', 'calls answered with 401 or 403')
    """
    observed, _, rest = text.partition(", usually ")
    usual, _, description = rest.partition(" (")
    return observed, usual, description.removesuffix(")")


def joined(head: str, clauses: Sequence[str], max_length: int) -> str:
    """*head* and as many of *clauses* as fit into *max_length* characters without cutting one."""
    text = head
    for part in clauses:
        longer = f"{text}{SEPARATOR if text != head else ''}{part}"
        if len(longer) > max_length:
            break
        text = longer
    return text


def _amount_without_window(feature: str, value: float) -> str:
    """As :func:`amount` without the window, and without the unit except that of bytes."""
    if _FEATURE[feature].unit != "bytes":
        return number(value)
    return amount(feature, value).partition(" in ")[0]


_SEQUENCE_TEXT: Final = "The session makes calls, or an order of calls, that its role does not use."
MODEL_TEXT: Final = "The session behaves unlike the sessions the model learned from."
_TEXTS: Final = {
    "fresh_strong_auth": "A factor was proved a short while ago.",
    TENANT_THRESHOLD: "People of this tenant passed step-ups, so that suspicions weigh less here.",
}
"""Of contributions that are no evidence."""


def reasons(
    contributions: Sequence[Contribution], limits: tuple[Limits, ...], moved: list[Moved], transition: str = ""
) -> list[dict[str, Any]]:
    """One reason for each of *contributions*, in the same order.

    Args:
        contributions: all summands of the score.
        limits: of every detection, in the order of the table.
        moved: the features that raised the model's score, most important first.
        transition: names the previous call and this one, if this one is rare after that; else "".
    """
    return [_reason(contribution, limits, moved, transition) for contribution in contributions]


def _reason(
    contribution: Contribution, limits: tuple[Limits, ...], moved: list[Moved], transition: str
) -> dict[str, Any]:
    if contribution.detection == ANOMALY:
        return _anomaly(contribution, moved, transition)
    if contribution.episode is None:
        return {
            "detection": contribution.detection,
            "text": _TEXTS[contribution.detection],
            "severity": "LOW",
            "contribution": contribution.log_odds,
        }
    index = BIT[contribution.detection]
    detection, episode = DETECTIONS[index], contribution.episode
    return {
        "detection": detection.id,
        "text": detection.text,
        "severity": detection.severity,
        "attack": list(detection.attack),
        "contribution": 0.0 if contribution.suppressed else contribution.log_odds,
        "observed": _observed(detection, episode),
        "normal": detection.normal.format(**limits[index]) + _usual(episode),
        "evidence": list(episode.evidence),
        "first_at": episode.first_at,
        "last_at": episode.last_at,
    }


def _observed(detection: Detection, episode: DetectionEpisode) -> str:
    """The words of a context, or a number with its unit, or the fixed words of a detection without a number."""
    fact, unit = detection.observed
    return episode.observed_text or (f"{episode.observed:.4g} {unit}" if fact else unit)


def _usual(episode: DetectionEpisode) -> str:
    """What is usual for the principal and in its role; at its tenant, if that has its own cohort."""
    text = "" if episode.usual is None else f"; here usually ≤ {episode.usual:.4g}"
    if episode.role_usual is None:
        return text
    where = "role at this tenant" if episode.at_tenant else "role"
    return f"{text}; in its {where} usually ≤ {episode.role_usual:.4g}"


def _anomaly(contribution: Contribution, moved: list[Moved], transition: str) -> dict[str, Any]:
    """The model's reason: the features that raised its score, as sentences and by name."""
    by_sequence = bool(moved) and moved[0].feature in SEQUENCE
    text = _SEQUENCE_TEXT if by_sequence else MODEL_TEXT
    clauses = [*([transition] if by_sequence and transition else []), *map(clause, moved)]
    observed = [f"{feature.feature} {number(feature.observed)}" for feature in moved]
    usual = [f"{feature.feature} {bound(feature)}" for feature in moved]
    return {
        "detection": ANOMALY,
        "text": joined(f"{text[:-1]}: ", clauses, _MAX_TEXT) if moved else text,
        "severity": "LOW",
        "contribution": contribution.log_odds,
        "observed": joined("", observed, _MAX_VALUES) or "score above the usual",
        "normal": joined("", usual, _MAX_VALUES) or f"below the {BANDS[0]:.0%} quantile",
    }
