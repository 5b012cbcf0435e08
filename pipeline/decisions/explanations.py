"""The reasons of a decision: each part of its score with what was seen and what is normal, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from models.detectors.base import BANDS, Moved
from models.features.table import FEATURES
from models.updates.call_sequence import SEQUENCE
from pipeline.decisions.decision import ANOMALY, Contribution
from pipeline.decisions.risk_state import DetectionEpisode
from pipeline.detections import BIT, DETECTIONS, Detection, Limits

BETWEEN: Final = "; "
"""Between the features of one reason."""
_FEATURE: Final = {feature.name: feature for feature in FEATURES}
_WINDOWS: Final = {"1m": " in 1 min", "10m": " in 10 min", "1h": " in 1 h"}
"""By the end of a feature's name."""
_BYTES: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_PURE: Final = ("0 or 1", "0 to 1")
"""Units that only tell the range of a number without one."""


def number(value: float) -> str:
    """A number as people write it: three figures, all of them before the point."""
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
    return f"{number(value)}{'' if unit in _PURE else f' {unit}'}{window}"


def bound(moved: Moved) -> str:
    """What is usual: the side on which the value lies outside; between both, the median.

    >>> bound(Moved("records_10m", 412.0, 0.0, 4.0, 30.0)), bound(Moved("novelty", 0.5, 0.0, 0.25, 1.0))
    ('≤ 30', 'about 0.25')
    """
    if moved.observed > moved.upper:
        return f"≤ {_plain(moved.feature, moved.upper)}"
    if moved.observed < moved.lower:
        return f"≥ {_plain(moved.feature, moved.lower)}"
    return f"about {_plain(moved.feature, moved.usual)}"


def piece(moved: Moved) -> str:
    """One feature as a part of a sentence.

    >>> piece(Moved("denied_10m", 12.0, 0.0, 0.0, 1.0))
    '12 calls in 10 min, usually ≤ 1 (calls answered with 401 or 403)'
    """
    what = _FEATURE[moved.feature].text.partition(",")[0]
    return f"{amount(moved.feature, moved.observed)}, usually {bound(moved)} ({what})"


def apart(text: str) -> tuple[str, str, str]:
    """A :func:`piece` taken apart again: what was seen, what is usual, and of what.

    >>> apart("12 calls in 10 min, usually ≤ 1 (calls answered with 401 or 403)")
    ('12 calls in 10 min', '≤ 1', 'calls answered with 401 or 403')
    """
    seen, _, rest = text.partition(", usually ")
    usual, _, what = rest.partition(" (")
    return seen, usual, what.removesuffix(")")


def together(head: str, parts: Sequence[str], most: int) -> str:
    """*head* and as many of the *parts*, whole, as fit into *most* characters."""
    text = head
    for part in parts:
        longer = f"{text}{BETWEEN if text != head else ''}{part}"
        if len(longer) > most:
            break
        text = longer
    return text


def _plain(feature: str, value: float) -> str:
    """As :func:`amount`, without what the amount beside it tells already."""
    if _FEATURE[feature].unit != "bytes":
        return number(value)
    return amount(feature, value).partition(" in ")[0]


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


def _reason(part: Contribution, limits: tuple[Limits, ...], moved: list[Moved], transition: str) -> dict[str, Any]:
    if part.detection == ANOMALY:
        return _anomaly(part, moved, transition)
    if part.episode is None:
        contribution = {"contribution": part.log_odds}
        return {"detection": part.detection, "text": _TRUST_TEXT, "severity": "LOW", **contribution}
    index = BIT[part.detection]
    rule = DETECTIONS[index]
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


def _observed(rule: Detection, episode: DetectionEpisode) -> str:
    """A context's own words, a number with its unit, or what a rule without a number always sees."""
    name, unit = rule.observed
    return episode.observed_text or (f"{episode.observed:.4g} {unit}" if name else unit)


def _usually(episode: DetectionEpisode) -> str:
    """What is usual for the principal, and in its role: at its tenant, where that has its own cohort."""
    text = "" if episode.usual is None else f"; here usually ≤ {episode.usual:.4g}"
    if episode.role_usual is None:
        return text
    where = "role at this tenant" if episode.at_tenant else "role"
    return f"{text}; in its {where} usually ≤ {episode.role_usual:.4g}"


def _anomaly(part: Contribution, moved: list[Moved], transition: str) -> dict[str, Any]:
    """The model's word: what moved its score as sentences, and once more by the features' names."""
    order = bool(moved) and moved[0].feature in SEQUENCE
    text = _ORDER_TEXT if order else MODEL_TEXT
    pieces = [*([transition] if order and transition else []), *map(piece, moved)]
    seen = [f"{this_moved.feature} {number(this_moved.observed)}" for this_moved in moved]
    usual = [f"{this_moved.feature} {bound(this_moved)}" for this_moved in moved]
    return {
        "detection": ANOMALY,
        "text": together(f"{text[:-1]}: ", pieces, 512) if moved else text,
        "severity": "LOW",
        "contribution": part.log_odds,
        "observed": together("", seen, 256) or "score above the usual",
        "normal": together("", usual, 256) or f"below the {BANDS[0]:.0%} quantile",
    }
