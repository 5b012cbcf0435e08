"""Composition root: makes the processors from the settings, for a worker, a replay and the demo alike."""

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
from pipeline.control.reloader import InitialConfig, Models
from pipeline.processing.processor import ProcessorSpec
from pipeline.processing.pseudonyms import read_keys, with_pseudonyms
from pipeline.sessions import processor as sessions_processor
from pipeline.sessions.processor import Options
from pipeline.settings.loading import Settings, limits_of


def configured(settings: Settings) -> InitialConfig:
    """Return what is in force before any order arrives on `model-control`."""
    models = Models(settings.model_dir or SHIPPED)
    return InitialConfig(settings.policy_file, settings.model, settings.mode, models)


def load_model(folder: Path) -> Detector:
    """Return the model in *folder*; raises `BadModel`."""
    return Models(folder.resolve().parent).load(folder.resolve().name)


def configured_with(settings: Settings, policy: Path | None, model: Path | None) -> InitialConfig:
    """Return what *settings* configure, but with the *policy* file and the folder of the *model* where given."""
    base = configured(settings)
    name, models = base.model, base.models
    if model is not None:
        name, models = model.resolve().name, Models(model.resolve().parent)
    return InitialConfig(policy or base.policy_file, name, base.mode, models)


def pseudonymized(settings: Settings, specs: Iterable[ProcessorSpec]) -> tuple[ProcessorSpec, ...]:
    """Return *specs* whose messages have pseudonyms in place of names, if *settings* name a file of keys.

    Raises `BadKeysError`.
    """
    path = settings.pseudonym_key_file
    return with_pseudonyms(specs, None if path is None else read_keys(path))


def options(settings: Settings, partitions: int, *, event_clock: bool = False, from_topics: bool = False) -> Options:
    """Return the options of the session processor, for topics with so many *partitions*.

    With *event_clock* a decision has the time of its event, since a replay has no other clock, and nothing is encoded
    for a changelog. Only records that come
    *from_topics* have headers that can confirm their tenant.
    """
    return Options(
        partitions=partitions,
        max_sessions=settings.max_sessions_per_partition,
        lateness_ms=round(settings.lateness_s * 1000),
        sweep_ms=round(settings.sweep_s * 1000),
        event_clock=event_clock,
        changelog=not event_clock,
        unscored_lag_ms=0 if event_clock else round(settings.unscored_lag_s * 1000),
        limits=limits_of(settings, from_topics=from_topics),
    )


def processor_specs(active: ActiveConfig, options: sessions_processor.Options) -> tuple[ProcessorSpec, ...]:
    """Return the specs of all four processors; all session processors share *active* and one cache of strings.

    The hash key of that cache is drawn here at random: whoever sends the strings must not know it.
    """
    columns = Columns(hash_key=secrets.token_bytes(KEY_BYTES))
    limits, changelog = options.limits, options.changelog
    return (
        ProcessorSpec(
            "session",
            sessions_processor.SOURCE_TOPICS,
            lambda _: sessions_processor.SessionProcessor(active, columns, options),
        ),
        ProcessorSpec(
            "device",
            device_processor.SOURCES,
            lambda _: device_processor.device_context(limits, changelog=changelog),
        ),
        ProcessorSpec(
            "principal",
            principal_processor.SOURCES,
            lambda _: principal_processor.principal_context(limits, changelog=changelog),
        ),
        ProcessorSpec("network", network.SOURCES, lambda _: network.network_context(limits, changelog=changelog)),
    )
