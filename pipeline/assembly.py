"""From settings to the objects of the core: what a worker, a replay and a demonstration are made of alike."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from models.artefacts import SHIPPED
from models.detectors.base import Detector
from models.events.columns import Columns
from models.events.text_hashing import KEY_BYTES
from pipeline.contexts import network
from pipeline.contexts.device import processor as device_processor
from pipeline.contexts.principal import processor as principal_processor
from pipeline.control.active import ActiveConfig
from pipeline.control.reloader import Configured, Models
from pipeline.processing.processor import ProcessorSpec
from pipeline.processing.pseudonyms import read_keys, with_pseudonyms
from pipeline.sessions import processor as sessions_processor
from pipeline.sessions.processor import Options
from pipeline.settings.loading import Settings, limits_of


def configured(settings: Settings) -> Configured:
    """Return what is in force before any order."""
    models = Models(settings.model_dir or SHIPPED)
    return Configured(settings.policy_file, settings.model, settings.mode, models)


def model_in(folder: Path) -> Detector:
    """Return the model that is *folder*; raises `BadModel`."""
    return Models(folder.resolve().parent).load(folder.resolve().name)


def chosen(settings: Settings, policy: Path | None, model: Path | None) -> Configured:
    """Return what *settings* say, but for a *policy* file or the folder of a *model* that was named."""
    sent_configured = configured(settings)
    name, models = sent_configured.model, sent_configured.models
    if model is not None:
        name, models = model.resolve().name, Models(model.resolve().parent)
    return Configured(policy or sent_configured.policy_file, name, sent_configured.mode, models)


def leaving(settings: Settings, kinds: Iterable[ProcessorSpec]) -> tuple[ProcessorSpec, ...]:
    """Return *kinds* as they speak to others: with pseudonyms for names if *settings* name keys.

    Raises `BadKeysError`.
    """
    path = settings.pseudonym_key_file
    return with_pseudonyms(kinds, None if path is None else read_keys(path))


def options(settings: Settings, partitions: int, *, event_clock: bool = False, from_topics: bool = False) -> Options:
    """Return what a session scorer is told, for topics with so many *partitions*.

    With *event_clock* a decision bears the time of its event: a replay has no other. Only what comes
    *from_topics* has headers that can vouch for its tenant.
    """
    return Options(
        partitions=partitions,
        max_sessions=settings.max_sessions_per_partition,
        lateness_ms=round(settings.lateness_s * 1000),
        sweep_ms=round(settings.sweep_s * 1000),
        event_clock=event_clock,
        unscored_lag_ms=0 if event_clock else round(settings.unscored_lag_s * 1000),
        limits=limits_of(settings, from_topics=from_topics),
    )


def stage_kinds(brain: ActiveConfig, options: sessions_processor.Options) -> tuple[ProcessorSpec, ...]:
    """Every kind of stage; all session stages share *brain* and their memory of strings.

    The hash key of that memory is drawn here: whoever sends strings must not know it.
    """
    columns = Columns(hash_key=secrets.token_bytes(KEY_BYTES))
    return (
        ProcessorSpec(
            "session",
            sessions_processor.SOURCE_TOPICS,
            lambda _: sessions_processor.SessionProcessor(brain, columns, options),
        ),
        ProcessorSpec("device", device_processor.SOURCES, lambda _: device_processor.device_context(options.limits)),
        ProcessorSpec(
            "principal",
            principal_processor.SOURCES,
            lambda _: principal_processor.principal_context(options.limits),
        ),
        ProcessorSpec("network", network.SOURCES, lambda _: network.network_context(options.limits)),
    )
