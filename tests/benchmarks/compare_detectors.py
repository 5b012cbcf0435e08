"""Comparison of the detectors: every method trained on one simulated population and tried on another.

    .venv/bin/python -m tests.benchmarks.compare_detectors --seeds 3 --hours 24 --principals 60

It writes models/DETECTORS.md: the figures, the command that made them, and which method `session-risk train` uses and
why. A population is simulated and replayed as training does it; its attack families are those of `truth.jsonl`. Only
the detectors are measured: no detection rule and no policy takes part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, pstdev
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final, NamedTuple
from zlib import crc32

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

import models
from models.detectors.explanation import Way, shares
from models.detectors.labelled import Labels, TooFewLabels
from models.detectors.methods import METHODS
from models.detectors.trained import COHORT, COHORTS, METHOD, Trained, fit
from models.features.table import as_seen_by_models
from pipeline.commands.replay import FOLDER
from pipeline.offline.replay.recording import write
from pipeline.offline.simulation import simulate
from pipeline.offline.training.datasets import roles_in, sample_of
from pipeline.offline.training.vectors import Vectors

Floats = NDArray[np.float64]

LABELLED: Final = 0.01
"""Share of the training vectors that are labelled."""
ALARMS: Final = (0.001, 0.01)
"""False positive rates at which recall is reported."""
SHARES: Final = (0.99, 0.999, 0.9999)
"""Shares of normal traffic that what is found is above."""
CHUNK: Final = 512
ODDITIES: Final = 200
"""Number of vectors in which one feature is made unusual, to see whether the explanation finds it."""
WAYS: Final[tuple[Way, ...]] = ("removed", "put_in", "both")


class Variant(NamedTuple):
    """One thing compared: a method, the cohorts it is fitted to, and the labelled attack families: none, all, half."""

    method: str
    cohorts: str
    labels: str = "none"


@dataclass(slots=True)
class Figures:
    """Measurements of one variant, one value per seed; *families* holds the share of attacked sessions found."""

    figures: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    families: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


@dataclass(slots=True)
class Result:
    """All measurements.

    Attributes:
        variants: figures per variant.
        explained: per way of explaining and method, how often the feature made unusual was ranked first.
        recordings: per recording and variant, the share of its attacked sessions with a vector in each band.
        vectors: numbers of vectors trained on and tested on, one pair per seed.
        failures: which variants could not be trained, and why.
    """

    variants: defaultdict[Variant, Figures] = field(default_factory=lambda: defaultdict(Figures))
    explained: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    recordings: dict[tuple[str, Variant], Floats] = field(default_factory=dict)
    vectors: list[tuple[int, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def compare(
    populations: Iterator[tuple[int, Vectors, Vectors]],
    recordings: dict[str, Vectors],
    progress: Callable[[str], None],
) -> Result:
    """Train and test every variant on each (seed, vectors to train on, vectors to test on).

    *recordings* are real ones by name, tested with the variants of the first seed. *progress* is called with a line
    for each variant.
    """
    result = Result()
    for seed, known, tried in populations:
        result.vectors.append((int(known.honest.sum()), len(tried)))
        for variant, detector, seconds in _trained(known, seed, result):
            progress(f"seed {seed}: {' '.join(variant)}")
            measured = result.variants[variant]
            _measure(detector, tried, measured)
            measured.figures["fit_s"].append(seconds)
            if variant.cohorts == COHORT and variant.labels == "none":
                for way in WAYS:
                    result.explained[way, variant.method].append(_explains(detector, known, seed, way))
            if len(result.vectors) == 1:
                for name, vectors in recordings.items():
                    result.recordings[name, variant] = found(detector, vectors)
    return result


def _trained(known: Vectors, seed: int, result: Result) -> Iterator[tuple[Variant, Trained, float]]:
    """Every variant, fitted to the sessions that were not attacked, and the seconds the fit took."""
    honest = known.take(known.honest)
    values, kinds, normal = honest.values, honest.kinds, honest.seen
    for method in METHODS:
        for cohorts in COHORTS:
            begun = perf_counter()
            detector = fit(values, kinds, name=method, seed=seed, method=method, cohorts=cohorts)
            seconds = perf_counter() - begun
            yield Variant(method, cohorts), detector, seconds
            if cohorts != COHORT:
                continue
            for which in ("all", "half"):
                begun = perf_counter()
                try:
                    more = detector.with_labels(_labels(known, seed, which), normal, kinds)
                except TooFewLabels as error:
                    result.failures.append(f"seed {seed}, {which} families labelled: {error}")
                    continue
                yield Variant(method, cohorts, which), more, seconds + perf_counter() - begun


def in_half(family: str) -> bool:
    """Whether *family* is labelled when only half of them are; this depends on its name alone."""
    return crc32(family.encode()) % 2 == 0


def _labels(known: Vectors, seed: int, which: str) -> Labels:
    """Labels of one vector in a hundred; *which* families of attacks are labelled: all or half."""
    drawn = np.random.default_rng(seed).random(len(known)) < LABELLED
    if which == "half":
        values = np.array([in_half(family or "") for family in known.truth_family.tolist()], np.bool_)
        drawn &= values | ~known.attacked
    vectors = known.take(drawn)
    return Labels(vectors.seen, vectors.kinds, vectors.attacked, vectors.session_numbers)


def _measure(detector: Trained, tried: Vectors, measured: Figures) -> None:
    """Add the figures of *detector* on the vectors *tried*."""
    scores, spent = _scored(detector, tried.seen, tried.kinds)
    figures, attack = measured.figures, tried.attacked
    figures["auc"].append(float(roc_auc_score(attack, scores)))
    figures["ap"].append(float(average_precision_score(attack, scores)))
    figures["us_row"].append(spent)
    for rate in ALARMS:
        over = scores > np.quantile(scores[~attack], 1.0 - rate)
        figures[f"recall_{rate}"].append(float(over[attack].mean()))
        families = sessions_found(tried, over)
        figures[f"families_{rate}"].append(mean(families.values()))
        if rate == ALARMS[0]:
            for family, share in families.items():
                measured.families[family].append(share)


def _scored(detector: Trained, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> tuple[Floats, float]:
    """Scores, computed in chunks as a worker does, and the microseconds per row (median over the chunks)."""
    scores, spent = [], []
    for start in range(0, len(seen), CHUNK):
        part, kind = seen[start : start + CHUNK], kinds[start : start + CHUNK]
        begun = perf_counter()
        scores.append(detector.score(part, kind))
        spent.append((perf_counter() - begun) / len(part) * 1e6)
    return np.concatenate(scores), float(np.median(spent))


def sessions_found(tried: Vectors, over: NDArray[np.bool_]) -> dict[str, float]:
    """Per family, the share of its attacked sessions with at least one attack vector in the mask *over*."""
    sessions, rows = tried.sessions, np.flatnonzero(tried.attacked)
    family = {sessions[row]: tried.truth_family[row] for row in rows.tolist()}
    hit = {sessions[row] for row in rows[over[rows]].tolist()}
    found_in: defaultdict[str, list[bool]] = defaultdict(list)
    for session, name in family.items():
        found_in[name].append(session in hit)
    return {name: mean(found) for name, found in sorted(found_in.items())}


def found(detector: Trained, vectors: Vectors) -> Floats:
    """``(3,)``: share of attacked sessions with a vector above each of :data:`SHARES` of normal traffic."""
    scores = vectors.scores(detector)
    return np.array([mean(sessions_found(vectors, scores > share).values() or [0.0]) for share in SHARES])


def _explains(detector: Trained, known: Vectors, seed: int, way: Way) -> float:
    """Share of trials in which the explanation ranks first the feature that was set to twice its maximum."""
    random = np.random.default_rng(seed)
    high, kinds = known.values.max(axis=0), known.kinds
    hits = 0
    for _ in range(ODDITIES):
        row = int(random.integers(len(known)))
        feature, kind = int(random.integers(len(high))), int(kinds[row])
        values = np.stack([known.values[row], detector.norms[kind, 1]], axis=1)
        values[feature, 0] = high[feature] * 2.0 + 1.0
        vector, usual = as_seen_by_models(values)
        gain = shares(partial(detector.unsaturated, kind=kind), vector, usual, way)
        hits += int(np.argmax(gain)) == feature
    return hits / ODDITIES


# --- The report ---

REPORT: Final = Path(models.__file__).parent / "DETECTORS.md"
IN_USE: Final = Variant(METHOD, COHORT)
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

Which method of scoring finds attacks that nobody described to it? Written by
`python -m tests.benchmarks.compare_detectors`.

Each repetition simulates two populations with different principals and seeds, both with attacks. Detectors are
fitted to the sessions of the first that were not attacked, and tested on every vector of the second. Detection
rules take no part. *Recall* counts attack vectors; *families* is the mean over attack families of the share of
attacked sessions with at least one vector above the threshold. The false positive rate (FPR) is that of all other
vectors, including unusual but honest ones. Figures are the mean ± standard deviation over the seeds.
"""

_EXPLAINED: Final = """\
How often the explanation ranks first the feature that was made unusual in an ordinary vector: by *removing* that
feature alone, by *putting it in* to the usual vector alone, and by the mean of both, which is what `explain` shows.
"""
_RECORDED: Final = """\
Trained on the first simulated population: the share of attacked sessions, averaged over techniques, with a vector
more unusual than 99, 99.9 and 99.99 % of that population. These recordings contain no normal
days, so they show no false positives.
"""


def report(result: Result, command_line: str) -> str:
    """All measurements as Markdown; *command_line* is the command that made them."""
    sizes = ", ".join(f"{known:,} → {tried:,}" for known, tried in result.vectors)
    parts = [
        _HEAD,
        f"```\n{command_line}\n```\n",
        f"Vectors trained on → tested on, per seed: {sizes}.\n",
        "## Without and with labels\n",
        _figures(result),
        "## Which method is used, and why\n",
        _why(result),
        "## Families\n",
        _families(result),
        "## Explanations\n",
        _explained(result),
    ]
    if result.recordings:
        parts += ["## Real recordings\n", _recordings(result)]
    if result.failures:
        parts += ["## What could not be trained\n", _list(result.failures)]
    return "\n".join(parts)


def _found(result: Result, variant: Variant) -> list[float]:
    """Share of attacked sessions found, the mean over families and rates, one value per seed."""
    figures = result.variants[variant].figures
    return [mean(values) for values in zip(*(figures[name] for name in CRITERIA), strict=True)]


def _list(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in dict.fromkeys(lines))


def best(result: Result) -> Variant:
    """The variant without labels that finds most, averaged over families and false positive rates."""
    unlabelled = [variant for variant in result.variants if variant.labels == "none"]
    return max(unlabelled, key=lambda variant: mean(_found(result, variant)))


def _figures(result: Result) -> str:
    head = ("method", "fitted to", "labels", *_COLUMNS.values())
    rows = []
    for variant, measured in result.variants.items():
        lines = [_spread(measured.figures[name], 1 if name in ("fit_s", "us_row") else 3) for name in _COLUMNS]
        name = f"**`{variant.method}`**" if variant == IN_USE else f"`{variant.method}`"
        rows.append((name, _COHORTS[variant.cohorts], _LABELS[variant.labels], *lines))
    return _table(head, rows)


def _why(result: Result) -> str:
    first = best(result)
    found = _spread(_found(result, first))
    how = f"`{first.method}`, {_COHORTS[first.cohorts]}"
    lines = [f"The most is found, averaged over families and both rates, by {how}: {found}."]
    if first == IN_USE:
        lines.append("`session-risk train` uses it.")
    elif IN_USE in result.variants:
        known = _spread(_found(result, IN_USE))
        lines.append(f"`session-risk train` uses `{METHOD}`, {_COHORTS[COHORT]}, which finds {known}.")
        lines += ["", *_beside(result, first)]
    lines.append("\nOf the families that stay unlabelled when half are labelled, it finds")
    lines += [
        f"- {text}: {_unlabelled(result, IN_USE._replace(labels=labels))}"
        for labels, text in (("none", "without labels"), ("half", "with labels of the other half"))
    ]
    return "\n".join(lines) + "\n"


_WEIGHED: Final = ("auc", "ap", "recall_0.001", "recall_0.01", "us_row")
"""Figures by which the method in use is compared with the one that finds most."""


def _beside(result: Result, first: Variant) -> list[str]:
    """The method in use beside *first*, by cost and ranking figures, as every vector of every event is scored."""
    lines = [f"| | {' | '.join(_COLUMNS[name] for name in _WEIGHED)} |", "| --- " * (len(_WEIGHED) + 1) + "|"]
    for variant in (IN_USE, first):
        figures = result.variants[variant].figures
        cells = (_spread(figures[name], 1 if name == "us_row" else 3) for name in _WEIGHED)
        lines.append(f"| `{variant.method}`, {_COHORTS[variant.cohorts]} | {' | '.join(cells)} |")
    return lines


def _unlabelled(result: Result, variant: Variant) -> str:
    """Mean over the families outside the labelled half."""
    families = result.variants[variant].families if variant in result.variants else {}
    found = [mean(shares) for name, shares in families.items() if not in_half(name)]
    return f"{mean(found):.3f}" if found else "too few labels"


def _families(result: Result) -> str:
    """At the lower rate: every method, and the method in use with labels as well."""
    shown = [Variant(method, COHORT) for method in METHODS]
    shown += [IN_USE._replace(labels="all"), IN_USE._replace(labels="half")]
    shown = [variant for variant in shown if variant in result.variants]
    names = sorted({name for variant in shown for name in result.variants[variant].families})
    head = (
        "family",
        *(f"`{variant.method}`, labels {_LABELS[variant.labels]}" for variant in shown),
    )
    rows = [
        (
            f"{name} ¹" if in_half(name) else name,
            *(_share(result, variant, name) for variant in shown),
        )
        for name in names
    ]
    note = "¹ labelled when half the families are.\n"
    return f"Share of attacked sessions found at {ALARMS[0]:.1%} FPR.\n\n{_table(head, rows)}\n{note}"


def _share(result: Result, variant: Variant, family: str) -> str:
    seen = result.variants[variant].families.get(family)
    return f"{mean(seen):.2f}" if seen else "–"


def _explained(result: Result) -> str:
    rows = [(f"`{method}`", *(_spread(result.explained[way, method]) for way in WAYS)) for method in METHODS]
    return f"{_EXPLAINED}\n{_table(('method', 'removed', 'put in', 'both'), rows)}"


def _recordings(result: Result) -> str:
    head = ("recording", "method", "fitted to", "labels", *(f"above {share:.4g}" for share in SHARES))
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


# --- The command ---

ATTACKS_PER_DAY: Final = 0.5
"""Attacks per principal and day: many, as there are many families and each must occur more than once."""
MAX_VECTORS: Final = 100_000
"""Maximum number of vectors of a population."""
TEST_SEED_OFFSET: Final = 1_000
"""Difference between the seeds of the population trained on and of the one tested on."""


@click.command()
@click.option("--seeds", type=click.IntRange(1, 20), default=3, show_default=True, help="Number of repetitions.")
@click.option("--hours", type=float, default=24.0, show_default=True, help="Simulated hours per population.")
@click.option("--principals", type=int, default=40, show_default=True, help="Principals per population.")
@click.option("--recording", "recordings", multiple=True, type=FOLDER, help="Labelled recording to test on as well.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the report; models/DETECTORS.md by default.",
)
def command(*, seeds: int, hours: float, principals: int, recordings: tuple[Path, ...], out: Path | None) -> None:
    """Train every detector on one simulated population, test it on another, and write a report.

    Takes some minutes. All figures except the times are reproducible. `session-risk convert` makes real recordings.
    """
    with TemporaryDirectory() as folder:
        roles = roles_in(_simulated(Path(folder), 1, hours, principals), 1) if recordings else None
    real = {path.name: sample_of(path, MAX_VECTORS, roles) for path in recordings}
    populations = _populations(seeds, hours, principals)
    result = compare(populations, real, lambda text: click.echo(text, err=True))
    command_line = "python -m tests.benchmarks.compare_detectors"
    command_line += f" --seeds {seeds} --hours {hours:g} --principals {principals}"
    command_line += "".join(f" --recording {path.name}" for path in recordings)
    target = out or REPORT
    target.write_text(report(result, command_line), encoding="utf-8")
    click.echo(f"the report is in {target}")


def _populations(seeds: int, hours: float, principals: int) -> Iterator[tuple[int, Vectors, Vectors]]:
    """For each seed, a population to train on (also the roles) and another one to test on."""
    for seed in range(1, seeds + 1):
        with TemporaryDirectory() as folder:
            known = _simulated(Path(folder) / "known", seed, hours, principals)
            tried = _simulated(Path(folder) / "tried", seed + TEST_SEED_OFFSET, hours, principals)
            roles = roles_in(known, seed)
            yield seed, sample_of(known, MAX_VECTORS, roles), sample_of(tried, MAX_VECTORS, roles)


def _simulated(folder: Path, seed: int, hours: float, principals: int) -> Path:
    """A recording of a population with many attacks."""
    simulation = simulate(seed, hours, principals, attack_share=ATTACKS_PER_DAY)
    with write(folder) as writer:
        for topic, event in simulation:
            writer.event(topic, event)
        for row in simulation.truth:
            writer.truth(row)
    return folder


if __name__ == "__main__":
    command()
