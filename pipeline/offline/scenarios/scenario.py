"""Stories in TOML, as a SOC analyst would write them: who does what when, and what must be decided.

A file is read strictly: an unknown key is an error that names the file and the place. `load` documents the format.
`playback` plays the stories, and `outcomes` compares results with expectations.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn, get_args

from pydantic import ValidationError

from pipeline.detections import DETECTION_IDS
from pipeline.offline.replay.recording import TOPIC_OF
from schemas.events import EVENT_TYPES
from schemas.fields import Action, Level, Posture

Table = dict[str, Any]

_HEAD: Final = ("title", "story", "text", "twin", "play_until", "place", "who", "step", "expect")
_STEP: Final = ("at", "who", "place", "type", "every", "times", "until")
_EXPECT: Final = ("level", "action", "because", "final_level")
_GENERATED: Final = {"type", "event_id", "occurred_at"}
_FIELDS: Final = {name: set(model.model_fields) - _GENERATED for name, model in EVENT_TYPES.items()}
# Telemetry gets tenant, device and posture from `who`, but no fields of the user's software.
_DEFAULTED: Final = _FIELDS | {"device.telemetry": {"tenant", "device_id", *Posture.model_fields}}
_ANY_FIELD: Final = {name for members in _FIELDS.values() for name in members}
_IDS: Final = ("session_id", "parent_session_id", "principal_id", "device_id", "token_id")
_MOMENTS: Final = ("attested_at", "credential_expires_at")
_SPAN: Final = re.compile(r"([+-]?)(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class ScenarioError(ValueError):
    """A scenario cannot be read; the message says which file, where in it, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected outcome of one session.

    *level* is the highest it reaches, *action* the strongest commanded (`allow`: none), *because* the detections that
    must be among the reasons; *final_level*, if given, is the level at the end.
    """

    level: Level
    action: Action
    because: tuple[str, ...] = ()
    final_level: Level | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story; *events* are (topic, event) in time order. *twin*: the honest twin of an attack."""

    name: str
    title: str
    story: str
    text: str
    twin: bool
    events: list[tuple[str, dict[str, Any]]]
    expect: dict[str, Expectation]
    play_until: int


def find_directory() -> Path:
    """Return the folder of the stories: that of the checkout, else that of the installed package."""
    here = Path(__file__).parents[2]
    for directory in (here.parent / "tests" / "scenarios", here / "scenarios_data"):
        if directory.is_dir():
            return directory
    raise ScenarioError(f"there are no stories: neither tests/scenarios beside {here} nor scenarios_data in it exists")


def load_all(directory: Path, start_ms: int, suffix: str = "") -> list[Scenario]:
    """Return every story in *directory*, by file name.

    Raises:
        ScenarioError: there is none, or one cannot be read.
    """
    paths = sorted(directory.glob("*.toml"))
    if not paths:
        raise ScenarioError(f"{directory} has no story: expected files such as a-phone-jailbroken.toml")
    return [load(path, start_ms, suffix) for path in paths]


def load(path: Path, start_ms: int, suffix: str = "") -> Scenario:
    """Return the story in the file *path*; its time 0 is *start_ms*, and all its ids get the *suffix*.

    A file has `title`, `story` (a letter), `text`, `twin` (true for the honest twin of an attack), `play_until`, and
    the tables

    - `step`: a list, each with `at`, `who`, `type`, further fields, and optionally another `place`; with `every` it is
      repeated, a number of `times` or `until` a time, else to the end;
    - `who.NAME`: the fields of a subject, the `place` where it is, and the name of another subject that it is `like`;
    - `place.NAME`: the fields of a network;
    - `expect.SESSION_ID`: `level`, `action`, `because`, `final_level`; one for every session.

    Times are seconds or a text such as `"1h2m3s"`, from the start; `"+5s"` is relative to the step before. The fields
    `attested_at` and `credential_expires_at` are times, too; with a sign they are relative to their event.

    Raises:
        ScenarioError: the file cannot be read, or something in it is wrong.
    """
    return _Reader(path, start_ms, suffix).scenario()


class _Reader:
    """Parser of one file."""

    def __init__(self, path: Path, start_ms: int, suffix: str) -> None:
        self.path = path
        self.start = start_ms
        self.suffix = suffix
        try:
            self.table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ScenarioError(f"{path}: cannot be read: {error}") from error

    def scenario(self) -> Scenario:
        self.only(self.table, _HEAD, "at the top")
        for kind in ("who", "place"):
            for name in self.tables(kind):
                self.entry(kind, name, kind)
        until = self.moment(self.need(self.table, "play_until", "at the top"), self.start, "play_until")
        events = self.events(until)
        expect = {name + self.suffix: self.expectation(name) for name in self.tables("expect")}
        self.cover({event["session_id"] for _, event in events if "session_id" in event}, expect)
        title, story, text = (str(self.need(self.table, key, "at the top")) for key in ("title", "story", "text"))
        twin = self.table.get("twin", False) is True
        return Scenario(self.path.stem, title, story, text.strip(), twin, events, expect, until)

    def wrong(self, where: str, problem: str) -> NoReturn:
        raise ScenarioError(f"{self.path.name}, {where}: {problem}")

    def need(self, table: Table, key: str, where: str) -> Any:
        if key not in table:
            self.wrong(where, f"{key} is missing")
        return table[key]

    def only(self, table: Table, known: Iterable[str], where: str) -> None:
        names = sorted(known)
        for key in table:
            if key not in names:
                near = get_close_matches(key, names, n=1)
                self.wrong(where, f"{key} is unknown here" + (f"; did you mean {near[0]}?" if near else ""))

    def tables(self, name: str) -> dict[str, Table]:
        tables = self.table.get(name, {})
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            self.wrong(name, f"write it as tables, [{name}.NAME]")
        return tables

    def span(self, value: Any, where: str) -> tuple[str, int]:
        """Parse a duration: its sign, if any, and its length in ms."""
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return "", round(value * 1000)
        found = _SPAN.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            self.wrong(where, f'{value!r} is not a time: write seconds, or such as "1h2m3s" or "+90s"')
        hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
        return found[1], (hours * 3600 + minutes * 60 + seconds) * 1000

    def moment(self, value: Any, since: int, where: str) -> int:
        """Parse a time in ms: with a sign relative to *since*, else from the start of the story."""
        sign, length = self.span(value, where)
        if sign:
            return since - length if sign == "-" else since + length
        return self.start + length

    def events(self, play_until: int) -> list[tuple[str, dict[str, Any]]]:
        drafts: list[tuple[int, int, Table]] = []
        previous = self.start
        steps = self.table.get("step", [])
        if not isinstance(steps, list):
            self.wrong("step", "write each step as [[step]]")
        for number, step in enumerate(steps, start=1):
            where = f"step {number}"
            previous = self.moment(self.need(step, "at", where), previous, f"{where}, at")
            fields = self.fields(step, where)
            drafts += [(at, number, fields) for at in self.times(step, previous, play_until, where)]
        drafts.sort(key=lambda draft: draft[:2])
        return [self.event(count, *draft) for count, draft in enumerate(drafts, start=1)]

    def times(self, step: Table, at: int, play_until: int, where: str) -> Iterator[int]:
        if "every" not in step:
            if "times" in step or "until" in step:
                self.wrong(where, "times and until need every")
            yield at
            return
        _, every = self.span(step["every"], f"{where}, every")
        if every <= 0 or ("times" in step and "until" in step):
            self.wrong(where, "every must be positive, and have only one of times and until")
        end = self.moment(step.get("until", "+0s"), play_until, f"{where}, until")
        if "times" in step:
            times = step["times"]
            if not isinstance(times, int) or times < 1:
                self.wrong(f"{where}, times", f"{times!r} is not a number of times: write 1 or more")
            end = at + every * (times - 1)
        yield from range(at, end + 1, every)

    def fields(self, step: Table, where: str) -> Table:
        """The fields of a step's events: its own take precedence over those of `who`, these over those of `place`."""
        kind = self.need(step, "type", where)
        if kind not in EVENT_TYPES:
            self.wrong(where, f"type {kind!r} is not one of {', '.join(EVENT_TYPES)}")
        self.only(step, {*_STEP, *_FIELDS[kind]}, where)
        table = self.entry("who", self.need(step, "who", where), where)
        place_name = step.get("place", table.get("place"))
        place = {} if place_name is None else self.entry("place", place_name, where)
        usual = {name: value for name, value in (place | table).items() if name in _DEFAULTED[kind]}
        own = {name: value for name, value in step.items() if name not in _STEP or name == "type"}
        return usual | own

    def entry(self, kind: str, name: Any, where: str) -> Table:
        tables = self.tables(kind)
        if not isinstance(name, str) or name not in tables:
            self.wrong(where, f"there is no [{kind}.{name}]")
        table = tables[name]
        self.only(table, {*_ANY_FIELD, "place", "like"} if kind == "who" else _ANY_FIELD, f"{kind}.{name}")
        if "like" not in table:
            return table
        other = tables.get(str(table["like"]))
        if other is None or "like" in other:
            self.wrong(f"{kind}.{name}, like", f"{table['like']!r} must be a {kind} that has no `like` itself")
        return other | table

    def event(self, count: int, at: int, number: int, fields: Table) -> tuple[str, dict[str, Any]]:
        where = f"step {number}"
        event = fields | {"event_id": f"{self.path.stem}{self.suffix}-{count:04d}", "occurred_at": at}
        event |= {name: event[name] + self.suffix for name in _IDS if isinstance(event.get(name), str)}
        event |= {name: self.moment(event[name], at, f"{where}, {name}") for name in _MOMENTS if name in event}
        try:
            EVENT_TYPES[event["type"]].model_validate(event)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            self.wrong(where, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        return TOPIC_OF[event["type"]], event

    def expectation(self, session_id: str) -> Expectation:
        where = f"expect.{session_id}"
        table = self.tables("expect")[session_id]
        self.only(table, _EXPECT, where)
        level, action = self.need(table, "level", where), self.need(table, "action", where)
        final, because = table.get("final_level"), tuple(table.get("because", ()))
        for key, value, words in (
            ("level", level, get_args(Level)),
            ("action", action, get_args(Action)),
            ("final_level", final, (*get_args(Level), None)),
            *(("because", item, DETECTION_IDS) for item in because),
        ):
            if value not in words:
                self.wrong(f"{where}, {key}", f"{value!r} is not one of {', '.join(filter(None, words))}")
        return Expectation(level, action, because, final)

    def cover(self, played: set[str], expect: dict[str, Expectation]) -> None:
        for session_id in sorted(played - set(expect)):
            self.wrong("expect", f"the expected outcome of session {session_id} is missing")
        for session_id in sorted(set(expect) - played):
            self.wrong(f"expect.{session_id}", "no step belongs to this session")
