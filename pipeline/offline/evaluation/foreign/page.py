"""What is published of foreign worlds: tables for models/EVALUATION.md and for README.md.

Both come from `models/evaluation/worlds.json`, which ``python -m pipeline.offline.evaluation --worlds FOLDER --json
models/evaluation/worlds.json`` wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pipeline.offline.evaluation.foreign.report import Plain
from pipeline.offline.evaluation.page import table

RESULT: Final = Path(__file__).parents[4] / "models" / "evaluation" / "worlds.json"
"""The published result."""
_ABOUT_DETECTIONS: Final = (
    "Sessions in which a detection held, whatever followed. Precision: the attacked ones among them. The last two "
    "columns: commands against honest sessions that name it."
)


def published() -> Plain:
    """The published result."""
    result: Plain = json.loads(RESULT.read_text("utf-8"))
    return result


def goals(result: Plain) -> str:
    """What is asked for and what was measured, as a Markdown table."""
    attacks, honest, scores = result["attacks"], result["honest"], result["scores"]
    asked = {"high": "≥ 85 %", "medium": "≥ 65 %", "low": "≥ 30 %"}
    rows: list[Sequence[str]] = [
        (f"attacks of {name} intensity met by a step-up or a revocation", asked[name], _share(row, "met"))
        for name, row in attacks["by_intensity"].items()
    ]
    every = attacks["all"]
    rows += [
        ("attacked sessions revoked", "≥ 50 %", _share(every, "revoked")),
        ("honest sessions revoked in 10,000 hours: all", "–", _number(honest["all"]["revoked_per_10000_hours"])),
        ("the same in the worst kind of company", "≤ 5", _worst(honest, "revoked_per_10000_hours")),
        ("honest people asked in 1,000 hours: all", "–", _number(honest["all"]["challenges_per_1000_hours"])),
        ("the same in the worst kind of company", "≤ 5", _worst(honest, "challenges_per_1000_hours")),
        ("honest services and keys ended", "0", f"{honest['machines_ended']:,}"),
        ("in the first 24 hours: revoked, asked", "≤ twice the rest", _phase(honest["first_day"])),
        ("after them: revoked, asked", "–", _phase(honest["rest"])),
        ("AUC of the score of sessions", "≥ 0.95", _number(scores["auc"], 3)),
        ("recall at 0.1 % of the honest sessions", "≥ 60 %", _percent(scores["recall"])),
    ]
    return table(("", "to reach", "measured"), rows)


def tables(result: Plain) -> str:
    """The result by kind of company, family of attacks and detection, as Markdown."""
    return "\n\n".join(
        (
            _source(result),
            goals(result),
            "### By kind of company",
            _companies(result),
            "### By family of attacks",
            "Median: minutes of event time from the beginning of the attack to the first intervention.",
            _families(result["attacks"]["by_family"]),
            "### By detection",
            _ABOUT_DETECTIONS,
            _detections(result["detections"]),
        )
    )


def _source(result: Plain) -> str:
    attacks, honest = result["attacks"]["all"], result["honest"]["all"]
    return (
        f"Worlds: {', '.join(f'`{name}`' for name in result['worlds'])}. They were written by another author, who did "
        "not look at the detections; nothing was learned in or tuned to the worlds of this seed, though the model has "
        f"learned from others of the same kinds of company. Policy `{result['policy']}`, model `{result['model']}`; "
        f"{attacks['attacks']:,} attacks and {honest['hours']:,.0f} honest hours of {honest['sessions']:,} sessions, "
        "the first day of each company included. Honest people answer a challenge in 97 of 100 cases, attackers never."
    )


def _companies(result: Plain) -> str:
    attacks, honest, scores = (
        result["attacks"]["by_company"],
        result["honest"]["by_company"],
        result["scores_by_company"],
    )
    rows = [
        (
            f"`{name}`",
            str(attacks[name]["attacks"]) if name in attacks else "0",
            _share(attacks.get(name), "met"),
            _share(attacks.get(name), "revoked"),
            f"{row['hours']:,.0f}",
            _number(row["revoked_per_10000_hours"]),
            _number(row["challenges_per_1000_hours"]),
            _number(scores[name]["auc"], 3),
            _percent(scores[name]["recall"]),
        )
        for name, row in honest.items()
    ]
    head = ("company", "attacks", "met", "revoked", "honest hours", "revoked / 10,000 h", "asked / 1,000 h", "AUC")
    return table((*head, "recall at 0.1 %"), rows)


def _families(families: Mapping[str, Plain]) -> str:
    rows = [
        (
            name,
            str(row["attacks"]),
            _share(row, "met"),
            _share(row, "revoked"),
            _number(row["median_minutes"]),
        )
        for name, row in families.items()
    ]
    return table(("family", "attacks", "met", "revoked", "median"), rows)


def _detections(detections: Iterable[Plain]) -> str:
    rows = [
        (
            f"`{row['detection']}`",
            f"{row['honest_sessions']:,}",
            _number(row["honest_per_10000_hours"]),
            str(row["attacks"]),
            _percent(row["precision"]),
            str(row["false_revocations"]),
            str(row["false_challenges"]),
        )
        for row in detections
    ]
    head = ("detection", "honest sessions", "in 10,000 h", "attacks", "precision", "revoked", "asked")
    return table(head, rows)


def _share(row: Plain | None, part: str) -> str:
    return _percent(row[part] / row["attacks"]) if row and row["attacks"] else "–"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _worst(honest: Plain, rate: str) -> str:
    worst = honest["worst"][rate]
    return f"{_number(worst['rate'])} ({worst['company']})" if worst else "–"


def _phase(row: Plain) -> str:
    return f"{_number(row['revoked_per_10000_hours'])}, {_number(row['challenges_per_1000_hours'])}"
