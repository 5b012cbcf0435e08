"""Report on foreign worlds: the judgement as plain values for a JSON file, and as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console

from pipeline.console import grid
from pipeline.offline.evaluation.foreign.judgement import (
    Falses,
    by_detection,
    caught,
    falses,
    grouped,
    machines_ended,
    ordering,
)
from pipeline.offline.evaluation.foreign.observed import ObservedSession

Plain = dict[str, Any]
PHASES: Final = ("first_day", "rest")
INTENSITIES: Final = ("high", "medium", "low")


def judged(observed: Sequence[ObservedSession]) -> Plain:
    """Everything that is said about the sessions *observed*, as plain values.

    Groups of honest sessions contain attacked ones until their attack began. *worst* is the kind of company with the
    highest rate, for each rate.
    """
    companies = grouped(observed, lambda session: session.company, _falses)
    by_phase = {name: grouped(observed, lambda session: session.company, _in_phase(name)) for name in PHASES}
    return {
        "sessions": len(observed),
        "attacks": {
            "all": asdict(caught(observed)),
            "by_intensity": _ordered(grouped(observed, lambda session: session.intensity, _caught), INTENSITIES),
            "by_company": grouped(_attacked(observed), lambda session: session.company, _caught),
            "by_family": grouped(observed, lambda session: session.family, _caught),
        },
        "honest": {
            "all": _falses(observed),
            **{name: _in_phase(name)(observed) for name in PHASES},
            "by_company": companies,
            "by_company_and_phase": by_phase,
            "by_principal_kind": grouped(observed, lambda session: session.principal_kind, _falses),
            "worst": {
                rate: _worst(companies, rate) for rate in ("revoked_per_10000_hours", "challenges_per_1000_hours")
            },
            "machines_ended": machines_ended(observed),
        },
        "detections": [asdict(result) for result in by_detection(observed)],
        "scores": asdict(ordering(observed)),
        "scores_by_company": grouped(observed, lambda session: session.company, lambda part: asdict(ordering(part))),
    }


def _attacked(observed: Iterable[ObservedSession]) -> list[ObservedSession]:
    return [seen for seen in observed if seen.session.is_attacked]


def _caught(observed: Sequence[ObservedSession]) -> Plain:
    return asdict(caught(observed))


def _falses(observed: Sequence[ObservedSession]) -> Plain:
    return _plain(falses(observed))


def _in_phase(name: str) -> Any:
    phase: Any = name
    return lambda observed: _plain(falses(observed, phase))


def _plain(result: Falses) -> Plain:
    return {
        **asdict(result),
        "revoked_per_10000_hours": result.revoked_per_10000_hours,
        "challenges_per_1000_hours": result.challenges_per_1000_hours,
    }


def _ordered(groups: Mapping[str, Plain], order: Sequence[str]) -> dict[str, Plain]:
    return {name: groups[name] for name in order if name in groups}


def _worst(groups: Mapping[str, Plain], rate: str) -> Plain | None:
    rates = {name: group[rate] for name, group in groups.items() if group[rate] is not None}
    if not rates:
        return None
    name = max(rates, key=lambda name: rates[name])
    return {"company": name, "rate": rates[name]}


def show(result: Plain, console: Console) -> None:
    """Print a judgement as tables: attacks, honest sessions, detections, scores."""
    attacks, honest = result["attacks"], result["honest"]
    console.print("\nATTACKS: met by any intervention after they began; revoked")
    rows = [("all", attacks["all"]), *attacks["by_intensity"].items()]
    rows += [(f"company {name}", row) for name, row in attacks["by_company"].items()]
    rows += list(attacks["by_family"].items())
    columns = ("", ">attacks", ">met", ">met %", ">in time", ">revoked", ">revoked %", ">median min")
    console.print(grid(*columns, rows=[_caught_row(name, row) for name, row in rows]))
    console.print("\nHONEST SESSIONS: false revocations and step-ups")
    spared = [("all", honest["all"]), ("first 24 h", honest["first_day"]), ("after", honest["rest"])]
    for name, row in honest["by_company"].items():
        spared.append((f"company {name}", row))
        for phase, text in zip(PHASES, ("first 24 h", "after"), strict=True):
            spared.append((f"  {text}", honest["by_company_and_phase"][phase][name]))
    spared += [(f"principal {name}", row) for name, row in honest["by_principal_kind"].items()]
    columns = ("", ">sessions", ">hours", ">revoked", ">unanswered", ">per 10,000 h", ">step-ups", ">per 1,000 h")
    console.print(grid(*columns, rows=[_honest_row(name, row) for name, row in spared]))
    for rate, text in (
        ("revoked_per_10000_hours", "revocations / 10,000 h"),
        ("challenges_per_1000_hours", "step-ups"),
    ):
        if worst := honest["worst"][rate]:
            console.print(f"worst kind of company, {text}: {worst['company']} {worst['rate']:.2f}")
    console.print(f"honest services and keys ended: {honest['machines_ended']:,}")
    console.print("\nDETECTIONS: sessions in which they fired, whatever followed; false commands that named them")
    columns = ("", ">honest", ">per 10,000 h", ">attacks", ">attacks %", ">precision %", ">revocations", ">step-ups")
    console.print(grid(*columns, rows=map(_detection_row, result["detections"])))
    console.print("\nSCORES of sessions")
    orders = [("all", result["scores"]), *result["scores_by_company"].items()]
    rows_of_scores = [(name, _text(row["auc"], 1, 3), _text(row["recall"], 100)) for name, row in orders]
    console.print(grid("", ">AUC", ">recall % at 0.1 % of honest sessions", rows=rows_of_scores))


def _caught_row(name: str, row: Plain) -> Sequence[Any]:
    shares = [_text(row[part] / row["attacks"] if row["attacks"] else None, 100) for part in ("met", "revoked")]
    return (
        name,
        row["attacks"],
        row["met"],
        shares[0],
        row["in_time"],
        row["revoked"],
        shares[1],
        _text(row["median_minutes"]),
    )


def _honest_row(name: str, row: Plain) -> Sequence[Any]:
    return (
        name,
        row["sessions"],
        f"{row['hours']:,.1f}",
        row["revoked"],
        row["unanswered"],
        _text(row["revoked_per_10000_hours"], 1, 2),
        row["challenges"],
        _text(row["challenges_per_1000_hours"], 1, 2),
    )


def _detection_row(row: Plain) -> Sequence[Any]:
    return (
        row["detection"],
        row["honest_sessions"],
        _text(row["honest_per_10000_hours"]),
        row["attacks"],
        _text(row["attacks_share"], 100),
        _text(row["precision"], 100),
        row["false_revocations"],
        row["false_challenges"],
    )


def _text(value: float | None, factor: float = 1.0, digits: int = 1) -> str:
    return "–" if value is None else f"{value * factor:,.{digits}f}"
