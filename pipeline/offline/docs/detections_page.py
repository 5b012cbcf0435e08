"""Catalogue of detections, as plain values for `session-risk detections` and as the page DETECTIONS.md."""

from __future__ import annotations

from typing import Any, Final

from models.events.context_signals import SIGNAL_BIT, SIGNALS
from pipeline.decisions.policy import read_policy
from pipeline.decisions.risk import Level, next_level, score
from pipeline.detections import ATTACK_VERSION, BIT, DETECTIONS, FOREVER, Detection

_SHIPPED: Final = read_policy(None)
_WEIGHTS: Final = _SHIPPED.weights()
_LEARNING: Final = "It does not fire until the baseline of the principal is established."
_HEAD: Final = f"""# The detections

The detections that run on every session. Written by `make docs` from the tables in the modules beside this
page; `session-risk detections` shows the same. Techniques are of MITRE ATT&CK {ATTACK_VERSION}.
A score is the logistic of a sum: a prior of {_SHIPPED.prior:g} and the weight of each contributing detection.
"""


def weight(rule: Detection) -> float:
    """The learned weight of a detection in log-odds, from the default policy."""
    return _WEIGHTS[BIT[rule.id]]


def alone(rule: Detection) -> tuple[Level, float]:
    """The level and score that a detection alone leads to with the default policy."""
    value = score(_SHIPPED.prior + weight(rule))
    return next_level("LOW", value, 0.0, _SHIPPED.levels), value


def snippet(rule: Detection) -> str:
    """The part of a policy file that configures the detection, with the default values."""
    lines = [f"[detections.{rule.id}]", "enabled = true", f"weight = {weight(rule)}"]
    if rule.limits:
        lines += [f"[detections.{rule.id}.limits]", *(f"{name} = {value}" for name, value in rule.limits.items())]
    return "\n".join(lines)


def entry(rule: Detection) -> dict[str, Any]:
    """Everything about one detection, in plain values."""
    level, value = alone(rule)
    return {
        "id": rule.id,
        "text": rule.text,
        "user_text": rule.user_text,
        "severity": rule.severity,
        "weight": weight(rule),
        "alone": {"level": level, "score": value},
        "counts_for": _duration(rule.hold_s),
        "asks": _asks(rule),
        "cleared_by_step_up": rule.cleared_by_step_up,
        "clearing": rule.clearing,
        "attack": {"version": ATTACK_VERSION, "techniques": list(rule.attack)},
        "references": list(rule.references),
        "needs": list(rule.needs),
        "told_by": _told_by(rule),
        "normal": rule.normal.format(**rule.limits),
        "limits": dict(rule.limits),
        "learning": _learning(rule),
        "known_false_positives": rule.known_false_positives,
        "policy": snippet(rule),
    }


def entries() -> list[dict[str, Any]]:
    """Every detection, in the order of the table."""
    return [entry(rule) for rule in DETECTIONS]


def lines(fields: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of an entry, (name, text) each, without empty ones."""
    techniques = ", ".join(fields["attack"]["techniques"])
    all_lines = [
        ("severity", f"{fields['severity']}, weight {fields['weight']:g}; {leads_to(fields)}"),
        ("counts", fields["counts_for"]),
        ("asks", fields["asks"]),
        ("cleared", fields["clearing"]),
        ("normal", fields["normal"]),
        ("limits", ", ".join(f"{name} {value:g}" for name, value in fields["limits"].items())),
        ("learning period", fields["learning"]),
        ("needs", ", ".join(fields["needs"])),
        ("reported by", fields["told_by"]),
        ("false positives", fields["known_false_positives"]),
        ("the person reads", fields["user_text"]),
        (f"ATT&CK {fields['attack']['version']}", techniques),
        ("required by", ", ".join(fields["references"])),
    ]
    return [(name, text) for name, text in all_lines if text]


def leads_to(fields: dict[str, Any]) -> str:
    """The level and score of an entry, if no other detection contributes."""
    return f"alone leads to {fields['alone']['level']} ({fields['alone']['score']:g})"


def markdown() -> str:
    """The page of all detections: a table, then a section for each."""
    return "\n".join([_HEAD, _overview(), *map(_section, entries())])


def _overview() -> str:
    head = ("detection", "holds when", "alone leads to", "step-up clears it", f"ATT&CK {ATTACK_VERSION}")
    rows = [
        (
            f"[`{detection.id}`](#{detection.id})",
            detection.text,
            "{} ({:g})".format(*alone(detection)),
            "yes" if detection.cleared_by_step_up else "no",
            ", ".join(detection.attack),
        )
        for detection in DETECTIONS
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)) + "\n"


def _section(fields: dict[str, Any]) -> str:
    points = "\n".join(f"- **{name}**: {_marked(name, text)}" for name, text in lines(fields))
    return f"## {fields['id']}\n\n{fields['text']}\n\n{points}\n\n```toml\n{fields['policy']}\n```\n"


def _marked(name: str, text: str) -> str:
    return ", ".join(f"`{field}`" for field in text.split(", ")) if name == "needs" else text


def _told_by(rule: Detection) -> str:
    if not rule.signal:
        return ""
    signal = SIGNALS[SIGNAL_BIT[rule.signal]]
    return f"the {signal.source} context: {signal.text}"


def _asks(rule: Detection) -> str:
    """When the detection alone leads to a challenge, if not at once."""
    minutes = _SHIPPED.times.rollout_s / 60
    return f"alone only after {minutes:g} minutes, in which a fleet may follow" if rule.fleet_may_follow else ""


def _learning(rule: Detection) -> str:
    return (rule.learning.__doc__ or _LEARNING).strip() if rule.learning else "none"


def _duration(seconds: float) -> str:
    """How long a detection contributes."""
    if seconds >= FOREVER:
        return "from then on"
    return f"while it holds, and {seconds / 60:g} minutes longer" if seconds else "while it holds"
