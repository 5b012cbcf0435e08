"""The comparison of detectors as Markdown: the figures, the command that made them, what to take and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, pstdev
from typing import Final

from models import detectors
from models.detectors.methods import METHODS
from models.detectors.trained import COHORT, METHOD
from pipeline.offline.training.detector_benchmark import ALARMS, WAYS, Result, Variant, in_half

REPORT: Final = Path(detectors.__file__).parents[1] / "DETECTORS.md"
TAKEN: Final = Variant(METHOD, COHORT)
CRITERIA: Final = tuple(f"families_{rate}" for rate in ALARMS)
_COHORTS: Final = {
    "global": "all principals alike",
    "calibrated": "a scale for each kind",
    "each": "a fit for each kind",
}
_LABELS: Final = {"none": "–", "all": "1 %", "half": "1 %, half the families"}
_COLUMNS: Final = {
    "auc": "AUC",
    "ap": "AP",
    "recall_0.001": "recall at 0.1 % FPR",
    "recall_0.01": "recall at 1 % FPR",
    "families_0.001": "families at 0.1 % FPR",
    "families_0.01": "families at 1 % FPR",
    "fit_s": "fit, s",
    "us_row": "µs a row",
}
_HEAD: Final = """# Detectors compared

Which way of scoring finds attacks that nobody described to it? Written by `session-risk detectors`.

Each repetition simulates two populations with other principals and another seed, attacks among them.
Detectors learn from the sessions of the first that were not attacked, and are tried on every vector of the
second. No rule has a say here. *Recall* counts vectors of attacks; *families* is the mean over attack
families of the share of attacked sessions with at least one vector above the threshold. The false positive
rate (FPR) is that of all other vectors, honest oddities among them. Mean ± standard deviation over the seeds.
"""

_EXPLAINED: Final = """\
How often the feature comes first that was made odd in an ordinary vector: when it alone is *removed*, when it
alone is *put in* to the usual vector, and by the mean of both, which is what `explain` shows.
"""
_RECORDED: Final = """\
Trained on the first simulated population: the share of attacked sessions, over techniques alike, with a
vector in band 1, 2 and 3 (odder than 99, 99.9 and 99.99 % of that population). These recordings hold no
normal days, so the price in false alarms does not show.
"""


def report(result: Result, asked: str) -> str:
    """Everything measured, as Markdown; *asked* is the command."""
    sizes = ", ".join(f"{known:,} → {tried:,}" for known, tried in result.vectors)
    parts = [
        _HEAD,
        f"```\n{asked}\n```\n",
        f"Vectors learned from → tried on, by seed: {sizes}.\n",
        "## Without and with labels\n",
        _figures(result),
        "## What is taken, and why\n",
        _why(result),
        "## Families\n",
        _families(result),
        "## Explanations\n",
        _explained(result),
    ]
    if result.recordings:
        parts += ["## Real recordings\n", _recordings(result)]
    if result.complaints:
        parts += ["## What could not be trained\n", _list(result.complaints)]
    return "\n".join(parts)


def _found(result: Result, variant: Variant) -> list[float]:
    """Share of attacked sessions found, the mean over families and rates, a value a seed."""
    figures = result.variants[variant].figures
    return [mean(values) for values in zip(*(figures[name] for name in CRITERIA), strict=True)]


def _list(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in dict.fromkeys(lines))


def best(result: Result) -> Variant:
    """The variant without labels that finds most, over families and false positive rates alike."""
    unlabelled = [variant for variant in result.variants if variant.labels == "none"]
    return max(unlabelled, key=lambda this_variant: mean(_found(result, this_variant)))


def _figures(result: Result) -> str:
    head = ("method", "fitted to", "labels", *_COLUMNS.values())
    rows = []
    for variant, measured in result.variants.items():
        lines = [_spread(measured.figures[name], 1 if name in ("fit_s", "us_row") else 3) for name in _COLUMNS]
        name = f"**`{variant.method}`**" if variant == TAKEN else f"`{variant.method}`"
        rows.append((name, _COHORTS[variant.cohorts], _LABELS[variant.labels], *lines))
    return _table(head, rows)


def _why(result: Result) -> str:
    first = best(result)
    found = _spread(_found(result, first))
    how = f"`{first.method}`, {_COHORTS[first.cohorts]}"
    lines = [f"Most is found, over families and both rates alike, by {how}: {found}."]
    if first == TAKEN:
        lines.append("`session-risk train` takes it.")
    elif TAKEN in result.variants:
        known = _spread(_found(result, TAKEN))
        lines.append(f"`session-risk train` takes `{METHOD}`, {_COHORTS[COHORT]}, which finds {known}.")
        lines += ["", *_beside(result, first)]
    lines.append("\nOf the families that nobody labels where half are labelled, it finds")
    lines += [
        f"- {text}: {_unlabelled(result, TAKEN._replace(labels=labels))}"
        for labels, text in (("none", "without labels"), ("half", "with labels of the other half"))
    ]
    return "\n".join(lines) + "\n"


_WEIGHED: Final = ("auc", "ap", "recall_0.001", "recall_0.01", "us_row")
"""What the method that is taken is held against the one that finds most by."""


def _beside(result: Result, first: Variant) -> list[str]:
    """The one that is taken and the *first*, by other figures: every vector of every event is scored."""
    lines = [f"| | {' | '.join(_COLUMNS[name] for name in _WEIGHED)} |", "| --- " * (len(_WEIGHED) + 1) + "|"]
    for variant in (TAKEN, first):
        figures = result.variants[variant].figures
        cells = (_spread(figures[name], 1 if name == "us_row" else 3) for name in _WEIGHED)
        lines.append(f"| `{variant.method}`, {_COHORTS[variant.cohorts]} | {' | '.join(cells)} |")
    return lines


def _unlabelled(result: Result, variant: Variant) -> str:
    """Mean over the families that are in no half."""
    families = result.variants[variant].families if variant in result.variants else {}
    found = [mean(shares) for name, shares in families.items() if not in_half(name)]
    return f"{mean(found):.3f}" if found else "too few labels to tell"


def _families(result: Result) -> str:
    """At the lower rate: every method, and the one taken with labels as well."""
    shown = [Variant(method, COHORT) for method in METHODS]
    shown += [TAKEN._replace(labels="all"), TAKEN._replace(labels="half")]
    shown = [variant for variant in shown if variant in result.variants]
    names = sorted({name for variant in shown for name in result.variants[variant].families})
    head = (
        "family",
        *(f"`{this_variant.method}`, labels {_LABELS[this_variant.labels]}" for this_variant in shown),
    )
    rows = [
        (
            f"{name} ¹" if in_half(name) else name,
            *(_share(result, this_variant, name) for this_variant in shown),
        )
        for name in names
    ]
    note = "¹ labelled where half the families are.\n"
    return f"Share of attacked sessions found at {ALARMS[0]:.1%} FPR.\n\n{_table(head, rows)}\n{note}"


def _share(result: Result, variant: Variant, family: str) -> str:
    seen = result.variants[variant].families.get(family)
    return f"{mean(seen):.2f}" if seen else "–"


def _explained(result: Result) -> str:
    rows = [(f"`{method}`", *(_spread(result.explained[way, method]) for way in WAYS)) for method in METHODS]
    return f"{_EXPLAINED}\n{_table(('method', 'removed', 'put in', 'both'), rows)}"


def _recordings(result: Result) -> str:
    head = ("recording", "method", "fitted to", "labels", "band 1", "band 2", "band 3")
    rows = [
        (
            name,
            f"`{variant.method}`",
            _COHORTS[variant.cohorts],
            _LABELS[variant.labels],
            *(f"{x:.2f}" for x in bands),
        )
        for (name, variant), bands in result.recordings.items()
    ]
    return f"{_RECORDED}\n{_table(head, rows)}"


def _spread(values: Sequence[float], digits: int = 3) -> str:
    return f"{mean(values):.{digits}f} ± {pstdev(values):.{digits}f}" if values else "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
