"""Page models/EVALUATION.md: goals and measurements, results per family, ablations and real recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.detections import BIT, DETECTIONS
from pipeline.offline.evaluation.real import Detected, Takeovers
from pipeline.offline.evaluation.switches import ORIGINS
from pipeline.offline.evaluation.trial import INTENSITIES, Trial, World, of
from pipeline.offline.simulation.attacks.catalogue import ATTACKS

_LEGEND = (
    "Met: a step-up or a revocation after the attack began. Delay: from the beginning of the attack to the revocation, "
    "in seconds of event time."
)
_MEANING = "The evidence of each session as a probability, compared with the share of sessions that was attacked."
ROLLOUT, OUTAGE = "policy_rollout", "telemetry_outage"
REVOKED: Final = frozenset(
    attack.name for attack in ATTACKS if DETECTIONS[BIT[attack.detections[0]]].severity == "HIGH"
) | {"ancestor_revoked"}
"""Families that should end in revocation: their first detection in the table of attacks has the severity HIGH."""


@dataclass(frozen=True, slots=True)
class Real:
    """Results on public recordings.

    *unharmed* is the lab without its detonations; *disguised* are takeovers with the victim's client.
    """

    techniques: Sequence[Detected]
    lab: Detected
    unharmed: Detected
    switched: Takeovers
    disguised: Takeovers


def page(
    worlds: Sequence[World],
    model: str,
    policy: str,
    halves: Sequence[Trial],
    topics: Sequence[Trial],
    real: Real | None,
    foreign: str,
) -> str:
    """Return the page as Markdown: *topics* are variants on the last world, *halves* on all others.

    *foreign* has the results in the worlds of others.
    """
    full = halves[0]
    lines = [
        "# How well sessions are judged",
        "In companies that another author made up, in our own simulation, and on real recordings.",
        "## In companies that another author made up",
        f"<!-- worlds -->\n{foreign}\n<!-- /worlds -->",
        "## In our own simulation: goals and measurements",
        _source(worlds, model, policy, full),
        _goals(halves),
        "## Attacks, by family and intensity",
        _LEGEND,
        "![share of attacks revoked and met, by family](evaluation/recall.png)",
        _families(full),
        "![delay of revocations](evaluation/delays.png)",
        "## Honest sessions, by family",
        _honest(full),
        "## What each part contributes",
        "On all worlds except the last.",
        _ablations(halves),
        f"On the last world alone (seed {worlds[-1].seed}).",
        _ablations(topics),
        "## Calibration of the evidence",
        _MEANING,
        "![reliability](evaluation/reliability.png)",
    ]
    if real is not None:
        lines += ["## On real recordings", _real(real)]
    return "\n\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(_cell(item) for item in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def share(part: int, whole: int, digits: int = 0) -> str:
    """*part* of *whole* in percent; a dash if *whole* is 0."""
    return f"{100 * part / whole:.{digits}f} %" if whole else "–"


def _source(worlds: Sequence[World], model: str, policy: str, full: Trial) -> str:
    text = ", ".join(
        f"seed {world.seed}: {world.hours:g} h, {world.principals} people and services" for world in worlds
    )
    met, spared = full.attack_results(), full.honest_costs()
    return (
        f"Written by `make evaluate LOGS=FOLDER` ({text}; the folder holds both public data sets whole, of "
        f"which parts are in tests/data). Decided by policy `{policy}` and model `{model}`, which "
        "were learned in worlds that share no seed, no principal and no parameter of an attack with these: "
        f"{met.sessions:,} sessions under attack, {spared.sessions:,} honest ones of {spared.hours:,.0f} "
        "hours. Honest people answer a challenge in 97 of 100 cases, attackers never.\n\n"
        "The simulation was written by the authors of the detections, and the weights of the evidence were learned in "
        "the worlds of others."
    )


def _goals(halves: Sequence[Trial]) -> str:
    full, *others = halves
    met, spared = full.attack_results(), full.honest_costs()
    mass = full.honest_costs(lambda row: row.family in (ROLLOUT, OUTAGE))
    prompt = full.attack_results(lambda row: row.family in REVOKED)
    rows: list[Sequence[object]] = [
        ("attacks met with an intervention", "≥ 90 %", share(met.intervened, met.sessions)),
        ("attacks revoked", "≥ 75 %", share(met.revoked, met.sessions)),
        ("false revocations in 10,000 honest session-hours", "≤ 1", spared.revocations_per_10000_hours),
        ("false challenges in 1,000 honest session-hours", "≤ 2", f"{spared.challenges_per_1000_hours:.2f}"),
        (
            f"median delay of the {len(REVOKED)} families that a HIGH detection answers",
            "≤ 60 s",
            prompt.delay_s,
        ),
        ("median delay of all revocations, those for unanswered step-ups too", "–", met.delay_s),
        (f"revocations from {ROLLOUT} and {OUTAGE}", "0", mass.revoked),
    ]
    for other in others:
        alone, name = other.attack_results(), other.variant.name
        for what, ours, theirs in (
            ("met", met.intervened, alone.intervened),
            ("revoked", met.revoked, alone.revoked),
        ):
            less = f"less than {share(ours, met.sessions, 1)}"
            rows.append((f"{what} with {name}", less, share(theirs, alone.sessions, 1)))
        more = f"more than {_cell(met.delay_s)}"
        rows.append((f"median delay of all revocations with {name}", more, alone.delay_s))
    return table(("measure", "goal", "measured"), rows)


def _families(trial: Trial) -> str:
    rows: list[Sequence[object]] = []
    for family in trial.families("attack"):
        for intensity in (*INTENSITIES, None):
            met = trial.attack_results(of(family, intensity))
            if met.sessions:
                rows.append(
                    (
                        f"`{family}`",
                        intensity,
                        met.sessions,
                        share(met.intervened, met.sessions),
                        share(met.revoked, met.sessions),
                        met.delay_s,
                        met.slow_s,
                    )
                )
    head = ("family", "intensity", "sessions", "met", "revoked", "median delay", "90 % within")
    return table(head, rows)


def _honest(trial: Trial) -> str:
    rows = []
    for family in trial.families("benign"):
        spared = trial.honest_costs(of(family, None))
        rows.append((f"`{family}`", spared.sessions, spared.hours, spared.challenged, spared.revoked))
    return table(("family", "sessions", "hours", "challenged", "revoked"), rows)


def _ablations(parts: Sequence[Trial]) -> str:
    rows = []
    for part in parts:
        met, spared = part.attack_results(), part.honest_costs()
        rows.append(
            (
                part.variant.name,
                share(met.intervened, met.sessions, 1),
                share(met.revoked, met.sessions, 1),
                met.delay_s,
                spared.revocations_per_10000_hours,
                spared.challenges_per_1000_hours,
            )
        )
    head = (
        "what decides",
        "met",
        "revoked",
        "median delay",
        "false revocations / 10,000 h",
        "false challenges / 1,000 h",
    )
    return table(head, rows)


def _real(real: Real) -> str:
    found = [technique for technique in real.techniques if technique.level != "LOW"]
    rows = [
        (f"`{technique.name}`", technique.level, ", ".join(technique.detections) or "–")
        for technique in real.techniques
    ]
    raised = (
        f"CloudTrail recordings of attack techniques (Stratus Red Team): {len(found)} of {len(rows)} raise a "
        "level. Each file holds the detonation alone, a handful of calls of a principal without history; "
        "warm-up and clean-up are not in it, so it says nothing about false positives."
    )
    parts = [raised, table(("technique", "level", "detections"), rows), _lab(real.lab, real.unharmed)]
    return "\n\n".join([*parts, _switches(real.switched, real.disguised)])


def _lab(lab: Detected, unharmed: Detected) -> str:
    text = (
        "The Invictus lab: one hour in which many of these techniques were run from one key, while Terraform "
        f"created and removed resources. {lab.sessions} sessions have decisions; the highest level is "
        f"{lab.level}. The user agent shows who caused the event after which a detection began to hold. The last "
        "column is the same hour without the detonations, with only Terraform and the lab's people: false "
        f"positives, highest level {unharmed.level}."
    )
    names = dict.fromkeys(detection for result in (lab, unharmed) for detection, _ in result.begun)
    rows = [
        (f"`{name}`", *(lab.begun.get((name, origin), 0) for origin in ORIGINS), _begun(unharmed, name))
        for name in names
    ]
    head = ("detection", "detonations", "warm-up and clean-up", "others", "without detonations")
    return text + "\n\n" + table(head, rows)


def _begun(result: Detected, name: str) -> int:
    return sum(count for (detection, _), count in result.begun.items() if detection == name)


def _switches(switched: Takeovers, disguised: Takeovers) -> str:
    rows = [_takeovers("address and client of the intruder", switched)]
    rows.append(_takeovers("address and client kept, only behaviour changes", disguised))
    lab, spared = switched.detonated, switched.spared
    text = (
        f"Identity switches injected into the lab's sessions at known times ({switched.copies} copies, by "
        "the method of CLUE-LDS). Delays count from the first call of the intruder; people are revoked when "
        "a step-up was not answered for five minutes."
    )
    others = (
        "Of the sessions that stayed as recorded, in all copies together: of those in which the lab itself "
        f"detonates an attack, {lab.revoked} of {lab.sessions} were revoked after its beginning; of the "
        f"others, which are honest, {spared.revoked} of {spared.sessions}, and {spared.challenged} "
        f"challenges were made in {spared.hours:.1f} hours."
    )
    head = ("what changes", "sessions", "met", "revoked", "median delay", "90 % within")
    return "\n\n".join((text, table(head, rows), others))


def _takeovers(what: str, takeovers: Takeovers) -> Sequence[object]:
    met = takeovers.switched
    return (
        what,
        met.sessions,
        share(met.intervened, met.sessions),
        share(met.revoked, met.sessions),
        met.delay_s,
        met.slow_s,
    )
