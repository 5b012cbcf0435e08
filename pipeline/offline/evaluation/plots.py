"""Plots of the evaluation: recall, delays, and the reliability of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def recall(path: Path, rows: Sequence[tuple[str, Mapping[str, tuple[int, int, int]]]]) -> None:
    """Plot bars for each family and intensity: the share revoked, and the share with any intervention.

    *rows*: family, and per intensity (sessions, intervened, revoked).
    """
    figure, axes = plt.subplots(1, 3, figsize=(11, 0.28 * len(rows) + 1.2), sharey=True)
    for axis, intensity in zip(axes, ("low", "medium", "high"), strict=True):
        cells = np.array([row.get(intensity, (0, 0, 0)) for _, row in rows], float).reshape(-1, 3)
        sessions = np.maximum(1, cells[:, 0])
        places = np.arange(len(rows))
        axis.barh(places, cells[:, 1] / sessions, color="#e9a23b", label="step-up")
        axis.barh(places, cells[:, 2] / sessions, color="#b3261e", label="revoked")
        axis.set(title=intensity, xlim=(0, 1), yticks=places, yticklabels=[name for name, _ in rows])
        axis.invert_yaxis()
    axes[-1].legend(loc="lower right", fontsize=8)
    _save(figure, path)


def reliability(path: Path, expected: Floats, attack: NDArray[np.bool_]) -> None:
    """Plot sessions in ten bins of expected probability: the share that was attacked, with counts."""
    edges = np.linspace(0, 1, 11)
    bins = np.clip(np.digitize(expected, edges) - 1, 0, 9)
    count = np.bincount(bins, minlength=10)
    filled = count > 0
    seen = np.bincount(bins, attack, minlength=10)[filled] / count[filled]
    mean = np.bincount(bins, expected, minlength=10)[filled] / count[filled]
    figure, axis = plt.subplots(figsize=(4.8, 4.2))
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    axis.plot(mean, seen, "o-", color="#1f5fa8")
    for x, y, n in zip(mean, seen, count[filled], strict=True):
        axis.annotate(f"{n:,}", (x, y), textcoords="offset points", xytext=(5, -10), fontsize=7)
    axis.set(xlabel="probability the evidence gives", ylabel="share under attack", xlim=(0, 1), ylim=(0, 1))
    _save(figure, path)


def delays(path: Path, seconds: Mapping[str, Sequence[float]]) -> None:
    """Plot, for each intensity, the share of revoked sessions over the delay of their revocation."""
    figure, axis = plt.subplots(figsize=(5.6, 3.4))
    for name, numbers in seconds.items():
        ordered = np.sort(np.maximum(np.asarray(numbers, float), 0.5))
        if ordered.size:
            axis.step(ordered, np.arange(1, ordered.size + 1) / ordered.size, where="post", label=name)
    axis.axvline(60, color="#999999", linewidth=1)
    axis.set(
        xscale="log",
        xlabel="seconds from the attack's beginning to the revocation",
        ylabel="share",
        ylim=(0, 1),
    )
    axis.legend(fontsize=8)
    _save(figure, path)
