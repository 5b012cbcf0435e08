"""Catalogue of detections, as plain values for `session-risk detections` and as the page DETECTIONS.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from models.events.context_signals import SIGNAL_BIT, SIGNALS
from pipeline.decisions.policy import read_policy
from pipeline.decisions.risk import Level, next_level, score
from pipeline.detections import ATTACK_VERSION, BIT, DETECTIONS, FOREVER, TECHNIQUE, TECHNIQUES, Detection

_SHIPPED: Final = read_policy(None)
_WEIGHTS: Final = _SHIPPED.weights()
_LEARNING: Final = "It does not fire until the baseline of the principal is established."
_HEAD: Final = f"""# The detections

The detections that run on every session. Written by `make docs` from the tables in the modules beside this
page; `session-risk detections` shows the same. A second table says which techniques and risks they name, and who
defines these.
A score is the logistic of a sum: a prior of {_SHIPPED.prior:g} and the weight of each contributing detection.
"""


def weight(detection: Detection) -> float:
    """The learned weight of a detection in log-odds, from the default policy."""
    return _WEIGHTS[BIT[detection.id]]


def alone(detection: Detection) -> tuple[Level, float]:
    """The level and score that a detection alone leads to with the default policy."""
    value = score(_SHIPPED.prior + weight(detection))
    return next_level("LOW", value, 0.0, _SHIPPED.levels), value


ENDS: Final = {
    True: "a fact: if it leads to HIGH, at once",
    False: "a suspicion: after a person did not answer, or after an approval",
}
"""What a detection can do to a session, by whether it is a fact."""


def snippet(detection: Detection) -> str:
    """The part of a policy file that configures the detection, with the default values."""
    lines = [f"[detections.{detection.id}]", "enabled = true", f"weight = {weight(detection)}"]
    if detection.limits:
        lines += [
            f"[detections.{detection.id}.limits]",
            *(f"{name} = {value}" for name, value in detection.limits.items()),
        ]
    return "\n".join(lines)


def entry(detection: Detection) -> dict[str, Any]:
    """Everything about one detection, in plain values."""
    level, value = alone(detection)
    return {
        "id": detection.id,
        "text": detection.text,
        "user_text": detection.user_text,
        "severity": detection.severity,
        "weight": weight(detection),
        "alone": {"level": level, "score": value},
        "counts_for": _duration(detection.hold_s),
        "is_fact": detection.is_fact,
        "asks": _asks(detection),
        "cleared_by_step_up": detection.cleared_by_step_up,
        "clearing": detection.clearing,
        "attack": {"version": ATTACK_VERSION, "techniques": list(detection.attack)},
        "agent_threats": [_threat(uid) for uid in detection.agent_threats],
        "references": list(detection.references),
        "needs": list(detection.needs),
        "told_by": _reported_by(detection),
        "normal": detection.normal.format(**detection.limits),
        "limits": dict(detection.limits),
        "learning": _learning(detection),
        "known_false_positives": detection.known_false_positives,
        "policy": snippet(detection),
    }


def entries() -> list[dict[str, Any]]:
    """Every detection, in the order of the table."""
    return [entry(detection) for detection in DETECTIONS]


def lines(fields: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of an entry, (name, text) each, without empty ones."""
    techniques = ", ".join(fields["attack"]["techniques"])
    all_lines = [
        ("severity", f"{fields['severity']}, weight {fields['weight']:g}; {leads_to(fields)}"),
        ("counts", fields["counts_for"]),
        ("ends a session", ENDS[fields["is_fact"]]),
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
        ("threats to agents", ", ".join("{id} {name}".format(**threat) for threat in fields["agent_threats"])),
        ("required by", ", ".join(fields["references"])),
    ]
    return [(name, text) for name, text in all_lines if text]


def leads_to(fields: dict[str, Any]) -> str:
    """The level and score of an entry, if no other detection contributes."""
    return f"alone leads to {fields['alone']['level']} ({fields['alone']['score']:g})"


def markdown() -> str:
    """The page of all detections: a table, then a section for each."""
    return "\n".join([_HEAD, _overview(), _techniques(), *map(_section, entries())])


def _overview() -> str:
    head = ("detection", "holds when", "alone leads to", "a fact", "step-up clears it", f"ATT&CK {ATTACK_VERSION}")
    rows = [
        (
            f"[`{detection.id}`](#{detection.id})",
            detection.text,
            "{} ({:g})".format(*alone(detection)),
            "yes" if detection.is_fact else "no",
            "yes" if detection.cleared_by_step_up else "no",
            ", ".join(detection.attack),
        )
        for detection in DETECTIONS
    ]
    return _table(head, rows)


def _techniques() -> str:
    rows = [
        (
            technique.id,
            technique.name,
            ", ".join(technique.tactics),
            f"{technique.framework.name} {technique.framework.version}",
            ", ".join(
                f"[`{detection.id}`](#{detection.id})" for detection in DETECTIONS if _names(detection, technique.id)
            ),
        )
        for technique in TECHNIQUES
    ]
    head = ("technique or risk", "name", "tactics", "defined by", "named by")
    return _table(head, rows)


def _names(detection: Detection, uid: str) -> bool:
    return uid in detection.attack or uid in detection.agent_threats


def _threat(uid: str) -> dict[str, str]:
    """A threat to agents in plain values: who defines it, which version, its identifier and name."""
    technique = TECHNIQUE[uid]
    return {
        "framework": technique.framework.name,
        "version": technique.framework.version,
        "id": technique.id,
        "name": technique.name,
    }


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)) + "\n"


def _section(fields: dict[str, Any]) -> str:
    points = "\n".join(f"- **{name}**: {_marked(name, text)}" for name, text in lines(fields))
    return f"## {fields['id']}\n\n{fields['text']}\n\n{points}\n\n```toml\n{fields['policy']}\n```\n"


def _marked(name: str, text: str) -> str:
    return ", ".join(f"`{field}`" for field in text.split(", ")) if name == "needs" else text


def _reported_by(detection: Detection) -> str:
    if not detection.signal:
        return ""
    signal = SIGNALS[SIGNAL_BIT[detection.signal]]
    return f"the {signal.source} context: {signal.text}"


def _asks(detection: Detection) -> str:
    """When the detection alone leads to a challenge, if not at once."""
    minutes = _SHIPPED.times.rollout_s / 60
    return f"alone only after {minutes:g} minutes, in which a fleet may follow" if detection.fleet_may_follow else ""


def _learning(detection: Detection) -> str:
    return (detection.learning.__doc__ or _LEARNING).strip() if detection.learning else "none"


def _duration(seconds: float) -> str:
    """How long a detection contributes."""
    if seconds >= FOREVER:
        return "from then on"
    return f"while it holds, and {seconds / 60:g} minutes longer" if seconds else "while it holds"
