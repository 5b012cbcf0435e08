"""The table of sources: every entry is complete, and its gaps are those that its sample logs show."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.commands.convert import command
from pipeline.detections import DETECTIONS, Detection
from pipeline.sources import SOURCES, Conversion, Convert, Source, cloudtrail
from schemas.events import EVENT_TYPES
from tests.support.command_line import ROOT

DATA = ROOT / "tests" / "data"
PACKAGES = {path.parent.name for path in (ROOT / "pipeline" / "sources").glob("*/__init__.py")}
CONFORMS: Convert = cloudtrail.convert  # mypy checks the signature
NEEDED = {field for detection in DETECTIONS for field in detection.needs}

every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def _converted(source: Source) -> Conversion:
    return source.convert([DATA / source.name])


def _seen(conversion: Conversion) -> set[str]:
    """Every field that an event of the conversion has, as topic.field."""
    return {f"{topic}.{field}" for topic, events in conversion.events.items() for event in events for field in event}


def _topic(field: str) -> str:
    return field.partition(".")[0]


def _can_fire(detection: Detection, seen: set[str]) -> bool:
    """Whether of each topic that *detection* needs, at least one needed field is seen."""
    return all(
        any(field in seen for field in detection.needs if _topic(field) == topic)
        for topic in map(_topic, detection.needs)
    )


def test_every_package_of_a_source_has_a_row_and_every_row_a_package() -> None:
    assert set(SOURCES) == PACKAGES
    assert {source.package for source in SOURCES.values()} == {f"pipeline.sources.{name}" for name in PACKAGES}


@every_source
def test_every_column_of_a_row_is_filled_in(source: Source) -> None:
    assert all(source)
    assert all(gap.why.endswith(".") and gap.fields for gap in source.gaps)
    assert source.documentation.startswith("https://")
    assert set(source.events) <= set(EVENT_TYPES)


@every_source
def test_a_converter_has_the_signature_of_the_protocol(source: Source) -> None:
    converter = import_module(source.package).convert

    assert inspect.signature(converter) == inspect.signature(cloudtrail.convert)


@every_source
def test_every_source_is_a_sub_command_that_says_what_it_reads(source: Source) -> None:
    assert source.title in (command.commands[source.name].help or "")
    assert source.files in (command.commands[source.name].help or "")
    assert set(command.commands) == set(SOURCES)


@every_source
def test_sample_logs_have_their_licence_beside_them_and_the_page_names_it(source: Source) -> None:
    folder = DATA / source.name
    page = (folder / "README.md").read_text("utf-8")

    assert set(source.licences) == {path.name for path in folder.iterdir() if path.is_dir()}
    for sample, licence in source.licences.items():
        assert (folder / sample / "LICENSE").is_file()
        assert re.search(rf"`{sample}/`.*\b{re.escape(licence)}\b", page)


@every_source
def test_sample_logs_become_valid_events_of_the_types_in_the_row(source: Source) -> None:
    conversion = _converted(source)

    events = [event for events in conversion.events.values() for event in events]
    assert {event["type"] for event in events} == set(source.events)
    for event in events:
        EVENT_TYPES[event["type"]].model_validate(event)


@every_source
def test_the_order_of_files_changes_nothing(source: Source) -> None:
    paths = sorted(path for path in (DATA / source.name).rglob("*.json*") if path.is_file())

    assert _converted(source) == source.convert(paths) == source.convert(reversed(paths))


@every_source
def test_every_field_that_a_detection_needs_is_in_the_sample_logs_or_a_gap_but_not_both(source: Source) -> None:
    gaps = [field for gap in source.gaps for field in gap.fields]

    assert sorted(gaps) == sorted(NEEDED - _seen(_converted(source)))


@every_source
def test_the_gaps_name_the_techniques_that_no_detection_can_find_in_this_source(source: Source) -> None:
    seen = _seen(_converted(source))
    found = {technique for detection in DETECTIONS if _can_fire(detection, seen) for technique in detection.attack}
    not_found = {technique for detection in DETECTIONS for technique in detection.attack} - found

    assert not_found <= {technique for gap in source.gaps for technique in gap.techniques}
    for gap in source.gaps:
        affected = [detection for detection in DETECTIONS if set(gap.fields) & set(detection.needs)]
        assert set(gap.techniques) <= {technique for detection in affected for technique in detection.attack}


def test_a_row_that_names_no_package_is_refused_when_it_is_used() -> None:
    row = SOURCES["cloudtrail"]._replace(package="pipeline.sources.nowhere")

    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        row.convert([Path()])
