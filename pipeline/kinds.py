"""The four kinds of stage a worker runs, made of one brain: the composition root of the core."""

from __future__ import annotations

from models.columns import Columns
from pipeline import device, network, principal, scorer
from pipeline.brain import Brain
from pipeline.stage import StageKind


def stage_kinds(brain: Brain, options: scorer.Options) -> tuple[StageKind, ...]:
    """Every kind of stage; all session stages share *brain* and their memory of strings."""
    columns = Columns()
    return (
        StageKind("session", scorer.SOURCE_TOPICS, lambda _: scorer.SessionScorer(brain, columns, options)),
        StageKind("device", device.SOURCES, lambda _: device.device_context(options.limits)),
        StageKind("principal", principal.SOURCES, lambda _: principal.principal_context(options.limits)),
        StageKind("network", network.SOURCES, lambda _: network.network_context(options.limits)),
    )
