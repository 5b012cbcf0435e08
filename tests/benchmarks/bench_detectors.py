"""Every detector on one core: µs to score a row in chunks, and ms to explain one. No broker, no recording."""

from __future__ import annotations

from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from models.detectors.methods import METHODS
from models.detectors.trained import COHORTS, Trained, fit
from models.events.columns import KINDS
from models.features.table import FEATURES, as_seen_by_models
from tests.benchmarks.machine import machine

CHUNK = 512
ROUNDS = 40


def traffic(count: int) -> NDArray[np.float64]:
    """Heavy-tailed vectors, as many of them zeros as in traffic."""
    random = np.random.default_rng(7)
    values = random.lognormal(2.0, 1.5, (count, len(FEATURES)))
    return values * (random.random(values.shape) < random.random(len(FEATURES)))


def best_row(detector: Trained, values: NDArray[np.float64], chunk: int) -> float:
    """µs a row in chunks of *chunk*: the quickest of many rounds, as other work on the machine only adds."""
    seen = as_seen_by_models(np.ascontiguousarray(values[:chunk].T))
    kinds = (np.arange(chunk) % len(KINDS)).astype(np.uint8)
    spent = []
    for _ in range(ROUNDS):
        begun = perf_counter()
        detector.band(detector.score(seen, kinds))
        spent.append(perf_counter() - begun)
    return min(spent) / chunk * 1e6


def best_explanation(detector: Trained, values: NDArray[np.float64]) -> float:
    """Milliseconds to tell why one vector is odd."""
    spent = []
    for row in range(ROUNDS):
        begun = perf_counter()
        detector.explain(values[row] * 10.0, 1, 5)
        spent.append(perf_counter() - begun)
    return min(spent) * 1e3


def main() -> None:
    """A line for each method and way of fitting it to kinds of principal."""
    values = traffic(10_000)
    kinds = (np.arange(len(values)) % len(KINDS)).astype(np.uint8)
    print(machine())
    for method in METHODS:
        for cohorts in COHORTS:
            begun = perf_counter()
            detector = fit(values, kinds, name=method, seed=7, method=method, cohorts=cohorts)
            fitted = perf_counter() - begun
            print(
                f"{method:<18} {cohorts:<11} {best_row(detector, values, CHUNK):6.2f} µs a row of {CHUNK}, "
                f"{best_row(detector, values, 1):7.1f} µs alone, {best_explanation(detector, values):6.2f} ms to explain, fit {fitted:5.1f} s"
            )


if __name__ == "__main__":
    main()
