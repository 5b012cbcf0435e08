"""Plots of a model's card as PNG, drawn without a screen and reproducible from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.detectors.drift import LARGE, MODERATE, Drift
from models.model_card import PICTURES
from pipeline.offline.training.quality import Quality

HONEST, ATTACK, LINE = "#4477aa", "#cc3311", "#999999"
COLOUR: Final = {"stable": HONEST, "moderate": "#ee7733", "large": ATTACK, "too few rows": LINE}


def quality_plots(found: Quality) -> dict[str, bytes]:
    """Return the plots of an evaluation, by file name."""
    pictures = {"scores.png": _scores(found), "precision.png": _precision(found)}
    if found.delays_s:
        pictures["delay.png"] = _delay(found)
    return pictures


def drift_plots(found: Sequence[Drift]) -> dict[str, bytes]:
    """Return the plot of feature drift, by file name."""
    figure, axes = _begin("drift.png", height=1.0 + 0.16 * len(found))
    shown = [*reversed(found)]
    colours = [COLOUR[drift.verdict] for drift in shown]
    axes.barh([drift.name for drift in shown], [drift.psi for drift in shown], color=colours)
    for limit in (MODERATE, LARGE):
        axes.axvline(limit, color=LINE, linewidth=0.8)
    axes.set_xlim(0, max(0.3, *(drift.psi * 1.02 for drift in shown)))
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel(f"population stability index: up to {MODERATE} stable, from {LARGE} on large")
    axes.set_ylim(-0.6, len(shown) - 0.4)
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
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
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
    # Delays below a second are drawn at one second, as the axis is logarithmic.
    delays = np.maximum(found.delays_s, 1.0)
    share = np.arange(1, len(delays) + 1) / found.attacked_sessions
    axes.step([1.0, *delays], [0.0, *share], where="post", color=ATTACK)
    axes.plot(delays, share, "o", markersize=3, color=ATTACK)
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
    figure.savefig(drawn, format="png", metadata={"Software": None})  # else it names a version
    return drawn.getvalue()
