"""The pictures of a model's card, as PNG: drawn without a screen, the same again from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.card import PICTURES
from models.drift import LARGE, MODERATE, Drift
from pipeline.quality import Quality

HONEST, ATTACK, LINE = "#4477aa", "#cc3311", "#999999"


def of_quality(found: Quality) -> dict[str, bytes]:
    """Return the pictures of an evaluation, by name."""
    pictures = {"scores.png": _scores(found), "precision.png": _precision(found)}
    if found.delays_s:
        pictures["delay.png"] = _delay(found)
    return pictures


def of_drift(found: Sequence[Drift]) -> dict[str, bytes]:
    """Return the picture of how far features have moved, by name."""
    figure, axes = _begin("drift.png", height=1.0 + 0.16 * len(found))
    names = [one.name for one in reversed(found)]
    axes.barh(names, [one.psi for one in reversed(found)], color=HONEST)
    for limit, word in ((MODERATE, "moderate"), (LARGE, "large")):
        axes.axvline(limit, color=LINE, linewidth=0.8)
        axes.text(limit, len(names) - 0.4, word, color=LINE, fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("population stability index")
    axes.set_ylim(-0.6, len(names))
    return {"drift.png": _png(figure)}


def _scores(found: Quality) -> bytes:
    figure, axes = _begin("scores.png")
    both = np.concatenate([found.honest, found.attacks])
    bins = np.linspace(both.min(), max(both.max(), both.min() + 1e-6), 60).tolist()
    axes.hist(found.honest, bins=bins, density=True, color=HONEST, alpha=0.7, label="honest")
    axes.hist(found.attacks, bins=bins, density=True, color=ATTACK, alpha=0.7, label="attacks")
    axes.set_yscale("log")
    axes.set_xlabel("score")
    axes.set_ylabel("density")
    axes.legend(frameon=False)
    return _png(figure)


def _precision(found: Quality) -> bytes:
    figure, axes = _begin("precision.png")
    axes.step(found.recall, found.precision, where="post", color=ATTACK)
    axes.set_xlabel("recall of attack vectors")
    axes.set_ylabel("precision")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return _png(figure)


def _delay(found: Quality) -> bytes:
    figure, axes = _begin("delay.png")
    # What came within a second is drawn at a second: the axis is logarithmic.
    delays = np.maximum(found.delays_s, 1.0)
    axes.step(delays, np.arange(1, len(delays) + 1) / found.attacked_sessions, where="post", color=ATTACK)
    axes.set_xscale("log")
    axes.set_xlabel("seconds since the attack began")
    axes.set_ylabel("share of attacked sessions")
    axes.set_ylim(0, 1.02)
    return _png(figure)


def _begin(name: str, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(PICTURES[name], fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    drawn = BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})  # it would name a version
    return drawn.getvalue()
