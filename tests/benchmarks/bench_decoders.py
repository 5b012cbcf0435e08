"""Decoders of API calls against each other: processor time of the whole core on all topics, in turn, in one process.

Four decoders give the session processor the same events, refusals and repaired fields; a run stops where messages or
state differ:

- bulk: `models.events.api_calls`, the project's own reader into columns;
- pydantic: `schemas.decode`, as for every other topic: a dictionary for each call;
- msgspec: typed structs, made from the model, and columns from their tuples;
- orjson: dictionaries without a schema, checked as columns, and strings checked when they first occur.

What msgspec or orjson do not accept goes to `schemas.decode`, as with the bulk reader. Their strings become numbers
through a dictionary with tuples as keys, which is faster for Python strings than `models.events.string_cache`.

`PYTHONPATH=. python tests/benchmarks/bench_decoders.py [RECORDING [EVENTS [SKIPPED [NAME,...]]]]`: without a recording a
morning is simulated; *SKIPPED* events at its beginning are left out; only the decoders named take part.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import process_time
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from models.artefacts import SHIPPED, load, load_roles
from models.events import columns as columns_module
from models.events.api_calls import Calls, read_calls
from models.events.batch import ACTIVITY, IDENTITY, NOTHING, Batch, Kind, merged
from models.events.columns import Columns
from models.events.text_hashing import hash_ids
from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.decisions.policy import read_policy
from pipeline.offline.replay.recording import InputRecord, read, write
from pipeline.offline.replay.runner import Arrived, Replay, record_key
from pipeline.offline.simulation import simulate
from pipeline.process_setup import tune_garbage_collection
from pipeline.processing.processor import (
    ChangelogRow,
    Message,
    Outcome,
    Processor,
    ProcessorSpec,
    Record,
    named_tenants,
)
from pipeline.sessions.processor import Options, SessionProcessor
from schemas.decode import decode_chunk, decoder
from schemas.decoded import DEFAULT_LIMITS, Decoded, Limits, Rejected, Repaired
from schemas.events import ApiCall
from schemas.tenancy import Tenants
from schemas.topics import API_CALLS
from tests.benchmarks.machine import machine

WINDOW: Final = 2_048
"""Records of all topics that every decoder's core takes before the next has its turn."""
BLOCK: Final = 2
"""Windows whose times are summed before they are compared."""
EVENTS: Final = 200_000
KEY: Final = bytes(range(16))
_LARGEST: Final = 8_192
"""Bytes above which a record goes to `schemas.decode`, which alone bounds digits and depth of what it skips."""
_DEEPEST: Final = 100

Row = tuple[Any, ...]
FIELDS: Final = tuple(ApiCall.model_fields)
INDEX: Final = {name: index for index, name in enumerate(FIELDS)}
_IDENTITY: Final = itemgetter(*(INDEX[name] for name in columns_module._IDENTITY_NAMES))
_ACTIVITY: Final = itemgetter(*(INDEX[name] for name in columns_module._ACT))


class RowCalls(Calls):
    """Calls of a chunk as tuples in the order of `FIELDS`; `None` for what `schemas.decode` has read instead."""

    def __init__(self, values: list[bytes], decoded_rows: list[Row | None], others: Mapping[int, Any]) -> None:
        self.decoded_rows = decoded_rows
        self.others = others
        self._values = values

    def event_id(self, index: int) -> str:
        """The id of the call at *index*."""
        row = self.decoded_rows[index]
        return str(self.others[index]["event_id"] if row is None else row[INDEX["event_id"]])

    def chosen(self, indexes: Sequence[int]) -> RowCalls:
        """The calls at *indexes*, in that order."""
        others = {place: self.others[index] for place, index in enumerate(indexes) if index in self.others}
        return RowCalls(
            [self._values[index] for index in indexes], [self.decoded_rows[index] for index in indexes], others
        )


class TupleCache:
    """What tuples of strings become, in a dictionary of Python's; the older half is forgotten when it is full."""

    def __init__(self, make: Callable[[list[Row]], NDArray[Any]], dtype: np.dtype[Any], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._index: dict[Row, int] = {}
        self._values = np.zeros(256, dtype)

    def lookup(self, questions: list[Row]) -> NDArray[Any]:
        """The values of all *questions*, ``(n,)``."""
        rows = list(map(self._index.get, questions))
        if None in rows:
            missing = list(
                dict.fromkeys(question for question, row in zip(questions, rows, strict=True) if row is None)
            )
            if len(self._index) + len(missing) > self._limit:
                self._index.clear()
                missing = list(dict.fromkeys(questions))
            begin, end = len(self._index), len(self._index) + len(missing)
            if end > self._values.size:
                self._values = np.concatenate([self._values, np.zeros(2 * end - self._values.size, self._values.dtype)])
            self._values[begin:end] = self._make(missing)
            self._index.update(zip(missing, range(begin, end), strict=True))
            rows = list(map(self._index.__getitem__, questions))
        return self._values[np.array(rows, np.intp)]


class RowColumns(Columns):
    """Columns of calls that are tuples."""

    def __init__(self) -> None:
        super().__init__(KEY)
        self._identities: Any = TupleCache(self._identity, IDENTITY, 1_000_000)
        self._acts: Any = TupleCache(self._act, ACTIVITY, 1_000_000)

    def calls(self, events: Sequence[Any]) -> Batch:
        """``api.call`` events."""
        if not isinstance(events, RowCalls):
            return super().calls(events)
        if not events.others:
            return self._of_rows(events, events.decoded_rows)
        known = np.array([at for at, row in enumerate(events.decoded_rows) if row is not None], np.int64)
        part = self._of_rows(events, [row for row in events.decoded_rows if row is not None])
        others = np.array(list(events.others), np.int64)
        return merged(events, ((known, part), (others, super().calls(list(events.others.values())))))

    def _of_rows(self, events: Sequence[Any], rows: Sequence[Row | None]) -> Batch:
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(FIELDS)

        def numbers(name: str) -> NDArray[np.float64]:
            return np.array(columns[INDEX[name]], np.float64)

        identity = (
            self._identities.lookup(list(zip(*_IDENTITY(columns), strict=True))) if rows else np.zeros(0, IDENTITY)
        )
        act = self._acts.lookup(list(zip(*_ACTIVITY(columns), strict=True))) if rows else np.zeros(0, ACTIVITY)
        client = columns_module._client_fields(identity, numbers("asn"), numbers("latitude"), numbers("longitude"))
        call = columns_module._call_fields(
            act, hash_ids(columns[INDEX["resource"]]), numbers("status"), numbers("bytes_out"), numbers("records")
        )
        ids = hash_ids(columns[INDEX["event_id"]])
        at = np.array(columns[INDEX["occurred_at"]], np.int64)
        keys = np.ascontiguousarray(client["identity"]["key"])
        return Batch(events, Kind.CALL, keys, ids, at, NOTHING._replace(client=client, call=call))


ReadRows = Callable[[Sequence[bytes]], list[Row | None]]


def read_with(
    read_rows: ReadRows,
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None],
    *,
    now_ms: int,
    limits: Limits = DEFAULT_LIMITS,
    tenants: Tenants | None = None,
) -> Decoded[Any]:
    """Decode as `models.events.api_calls.read_calls` does, by *read_rows*."""
    if len(values) != len(keys):
        raise ValueError(f"{len(values)} values with {len(keys)} keys: each record has one of both")
    texts = [value or b"" for value in values]
    rows = read_rows(texts)
    latest, largest = now_ms + limits.ahead_ms(API_CALLS), limits.max_bytes
    session, at, tenant = INDEX["session_id"], INDEX["occurred_at"], INDEX["tenant"]
    if None in rows or not _fits(list(zip(*rows, strict=True)), keys, texts, latest, largest):
        for index, (row, key, text) in enumerate(zip(rows, keys, texts, strict=True)):
            if row is not None and (row[session].encode() != key or row[at] > latest or len(text) > largest):
                rows[index] = None
    if tenants is not None:
        for index, (row, named) in enumerate(zip(rows, tenants, strict=True)):
            if row is not None and list(named) != [(row[tenant] or "default").encode()]:
                rows[index] = None
    if None not in rows:
        return Decoded(RowCalls(texts, rows, {}), list(range(len(texts))), [])
    rest = [index for index, row in enumerate(rows) if row is None]
    decoded = decoder(API_CALLS).decode(
        [values[index] for index in rest],
        [keys[index] for index in rest],
        now_ms=now_ms,
        limits=limits,
        tenants=None if tenants is None else [tenants[index] for index in rest],
    )
    events = {rest[place]: event for place, event in zip(decoded.places, decoded.events, strict=True)}
    places = [index for index, row in enumerate(rows) if row is not None or index in events]
    others = {index: events[place] for index, place in enumerate(places) if place in events}
    return Decoded(
        RowCalls([texts[place] for place in places], [rows[place] for place in places], others),
        places,
        [Rejected(rest[rejected.index], rejected.reason) for rejected in decoded.rejected],
        [Repaired(rest[repair.index], repair.fields) for repair in decoded.repaired],
    )


def _fits(columns: list[Any], keys: Sequence[bytes | None], texts: list[bytes], latest: int, largest: int) -> bool:
    """Whether all records lie under their own key, are of the past and not too long."""
    if not columns:
        return True
    own = list(map(str.encode, columns[INDEX["session_id"]]))
    return own == list(keys) and max(columns[INDEX["occurred_at"]]) <= latest and max(map(len, texts)) <= largest


def is_skippable(text: bytes) -> bool:
    """Whether any JSON reader skips fields of *text* that it does not know just as `schemas.decode` does."""
    return len(text) <= _LARGEST and text.count(b"[") + text.count(b"{") <= _DEEPEST


# --- msgspec ---------------------------------------------------------------------------------------------------------


def _struct() -> type[msgspec.Struct]:
    """A struct with the fields and bounds of `ApiCall`."""
    schema: Any = ApiCall.__pydantic_core_schema__
    while schema["type"] != "model-fields":
        schema = schema["schema"]
    fields: list[Any] = []
    for name, field in schema["fields"].items():
        required, leaf = field["schema"]["type"] != "default", field["schema"]
        nullable = False
        while leaf["type"] in {"default", "nullable", "function-before"}:
            nullable |= leaf["type"] in {"nullable", "function-before"}
            leaf = leaf["schema"]
        kind = _typed(leaf)
        fields.append((name, kind | None if nullable else kind) if required else (name, kind | None, None))
    return msgspec.defstruct("Call", fields, gc=False, kw_only=True)


def _typed(leaf: Any) -> Any:
    if leaf["type"] == "literal":
        return Literal[tuple(leaf["expected"])]
    if "pattern" in leaf:  # two capital letters: checked below, a regular expression costs more
        return Annotated[str, msgspec.Meta(min_length=2, max_length=2)]
    bounds = {name: leaf[name] for name in ("ge", "le", "min_length", "max_length") if name in leaf}
    kind = {"str": str, "int": int, "float": float}[leaf["type"]]
    return Annotated[kind, msgspec.Meta(**bounds)] if bounds else kind


_STRUCT: Final = _struct()
_DECODE: Final = msgspec.json.Decoder(_STRUCT).decode


def msgspec_rows(texts: Sequence[bytes]) -> list[Row | None]:
    """Rows of *texts*, `None` for what msgspec does not accept or might accept wrongly."""
    rows: list[Row | None]
    joined = b"".join(texts)
    try:
        if (
            b"[" in joined
            or joined.count(b"{") != len(texts)
            or not joined.isascii()
            or max(map(len, texts)) > _LARGEST
        ):
            rows = list(map(_row, texts))
        else:
            rows = list(map(msgspec.structs.astuple, map(_DECODE, texts)))
    except msgspec.MsgspecError:
        rows = list(map(_row, texts))
    read = [row for row in rows if row is not None] if None in rows else rows
    columns = list(zip(*read, strict=True))
    if (
        columns
        and all(_is_country(name) for name in set(columns[_COUNTRY]))
        and not any(0 in columns[at] for at in _PLACES)
    ):
        return rows
    return [row if row is not None and _is_certain(row) else None for row in rows]


_COUNTRY: Final = INDEX["country"]
_PLACES: Final = (INDEX["latitude"], INDEX["longitude"])


def _row(text: bytes) -> Row | None:
    try:
        if not is_skippable(text):
            return None
        if not text.isascii():
            text.decode()  # in fields that it skips msgspec takes any bytes
        return msgspec.structs.astuple(_DECODE(text))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _is_country(name: str | None) -> bool:
    return name is None or (name.isascii() and name.isalpha() and name.isupper())


def _is_certain(row: Row) -> bool:
    """Whether *row* needs no other reader: a place of 0 may have been minus 0, which msgspec reads otherwise."""
    return _is_country(row[_COUNTRY]) and all(row[at] != 0 for at in _PLACES)


# --- orjson ----------------------------------------------------------------------------------------------------------


class _Checks(NamedTuple):
    """How a column of `ApiCall` is checked: types of its values, bounds of a number or length, choices."""

    types: frozenset[type]
    least: float
    most: float
    choices: frozenset[Any] | None
    capitals: bool


def _checks() -> tuple[_Checks, ...]:
    schema: Any = ApiCall.__pydantic_core_schema__
    while schema["type"] != "model-fields":
        schema = schema["schema"]
    rows = []
    for field in schema["fields"].values():
        leaf, optional = field["schema"], field["schema"]["type"] == "default"
        while leaf["type"] in {"default", "nullable", "function-before"}:
            leaf = leaf["schema"]
        numbers: dict[str, set[type]] = {"int": {int}, "float": {int, float}}
        types = numbers.get(leaf["type"], {str})
        low, high = ("ge", "le") if leaf["type"] in {"int", "float"} else ("min_length", "max_length")
        choices = frozenset(leaf["expected"]) if "expected" in leaf else None
        rows.append(
            _Checks(
                frozenset({*types, type(None)} if optional else types),
                leaf.get(low, -(2**62)),
                leaf.get(high, 2**62),
                choices,
                "pattern" in leaf,
            )
        )
    return tuple(rows)


_CHECKS: Final = _checks()
_DEFAULTS: Final = dict.fromkeys(FIELDS)
_FIELDS_OF: Final = itemgetter(*FIELDS)
_TEXTS: Final = tuple(name for name, check in zip(FIELDS, _CHECKS, strict=True) if str in check.types)
_FRESH: Final = ("event_id", "resource")
"""Texts that are new in nearly every call: checked in each."""
_REPEATED: Final = itemgetter(*(INDEX[name] for name in _TEXTS if name not in _FRESH))
_ONE_BY_ONE: Final = tuple(INDEX[name] for name in FIELDS if name not in _TEXTS or name in _FRESH)


class OrjsonRows:
    """Rows of texts, with a memory of the strings that were found good together."""

    def __init__(self) -> None:
        self._good: set[Row] = set()

    def __call__(self, texts: Sequence[bytes]) -> list[Row | None]:
        """Rows of *texts*, `None` for what is not accepted here."""
        if all(map(is_skippable, texts)):
            try:
                loaded: list[Any] = list(map(orjson.loads, texts))
            except orjson.JSONDecodeError:
                loaded = list(map(_loaded, texts))
        else:
            loaded = list(map(_loaded, texts))
        if set(map(type, loaded)) != {dict}:
            loaded = [item if type(item) is dict else {} for item in loaded]
        rows: list[Row | None] = list(map(_FIELDS_OF, map(_DEFAULTS.__or__, loaded)))
        columns = list(zip(*rows, strict=True))
        repeated = list(zip(*_REPEATED(columns), strict=True))
        try:
            strange = set(repeated) - self._good
        except TypeError:  # a list or an object among them
            return [row if row is not None and _is_good(row) else None for row in rows]
        if len(self._good) > 1_000_000:
            self._good.clear()
        good = {item for item in strange if _are_good_texts(item)}
        self._good |= good
        if strange != good:
            bad = strange - good
            rows = [None if item in bad else row for item, row in zip(repeated, rows, strict=True)]
        if not all(_is_good_column(columns[index], _CHECKS[index]) for index in _ONE_BY_ONE):
            rows = [row if row is not None and _is_good(row) else None for row in rows]
        latitude, longitude = INDEX["latitude"], INDEX["longitude"]
        if 0 in columns[latitude] or 0 in columns[longitude]:  # minus nothing is something else
            rows = [row if row and row[latitude] != 0 and row[longitude] != 0 else None for row in rows]
        return rows


def _loaded(text: bytes) -> Any:
    try:
        return orjson.loads(text) if is_skippable(text) else None
    except orjson.JSONDecodeError:
        return None


def _is_good_column(column: tuple[Any, ...], check: _Checks) -> bool:
    if not set(map(type, column)) <= check.types:
        return False
    present = [value for value in column if value is not None] if None in column else column
    if not present:
        return True
    if str in check.types:
        present = list(map(len, present))
    return bool(check.least <= min(present) and max(present) <= check.most)


def _are_good_texts(values: Row) -> bool:
    return all(_is_good_value(value, check) for value, check in zip(values, _REPEATED(_CHECKS), strict=True))


def _is_good(row: Row) -> bool:
    return all(_is_good_value(value, check) for value, check in zip(row, _CHECKS, strict=True))


def _is_good_value(value: Any, check: _Checks) -> bool:
    if type(value) not in check.types:
        return False
    if value is None:
        return True
    if check.choices is not None:
        return value in check.choices
    if check.capitals:
        return len(value) == 2 and value.isascii() and value.isalpha() and value.isupper()
    return bool(check.least <= (len(value) if isinstance(value, str) else value) <= check.most)


# --- the race --------------------------------------------------------------------------------------------------------


class Decoder(NamedTuple):
    """How calls are decoded, and how they become columns."""

    read_calls: Callable[..., Decoded[Any]]
    columns: Columns


def decoders() -> dict[str, Decoder]:
    """Every decoder that takes part, with empty caches."""
    orjson_rows = OrjsonRows()

    def by_msgspec(*args: Any, **kwargs: Any) -> Decoded[Any]:
        return read_with(msgspec_rows, *args, **kwargs)

    def by_orjson(*args: Any, **kwargs: Any) -> Decoded[Any]:
        return read_with(orjson_rows, *args, **kwargs)

    def by_pydantic(*args: Any, **kwargs: Any) -> Decoded[Any]:
        return decode_chunk(API_CALLS, *args, **kwargs)

    return {
        "bulk": Decoder(read_calls, Columns(KEY)),
        "pydantic": Decoder(by_pydantic, Columns(KEY)),
        "msgspec": Decoder(by_msgspec, RowColumns()),
        "orjson": Decoder(by_orjson, RowColumns()),
    }


class DecodingProcessor(SessionProcessor):
    """A session processor with a decoder of calls of its own."""

    def __init__(self, brain: ActiveConfig, decoder: Decoder, options: Options) -> None:
        super().__init__(brain, decoder.columns, options)
        self._read_calls = decoder.read_calls

    def _decode(self, topic: str, records: Sequence[Record], now_ms: int) -> Decoded[Any]:
        if topic != API_CALLS:
            return super()._decode(topic, records, now_ms)
        values, keys, limits = [r.value for r in records], [r.key for r in records], self.options.limits
        tenants = named_tenants(topic, records, limits)
        return self._read_calls(values, keys, now_ms=now_ms, limits=limits, tenants=tenants)


class Timed:
    """A processor whose processor time is added up, so that the replay around it does not count."""

    def __init__(self, inner: Processor, spent: dict[str, float]) -> None:
        self._inner = inner
        self._spent = spent

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        """As that of the processor inside, timed by topic."""
        begun = process_time()
        outcome = self._inner.process(topic, records, now_ms)
        self._spent[topic] += process_time() - begun
        return outcome

    def on_timer(self, now_ms: int) -> Outcome:
        """As that of the processor inside."""
        begun = process_time()
        outcome = self._inner.on_timer(now_ms)
        self._spent["timer"] += process_time() - begun
        return outcome

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        """As that of the processor inside."""
        self._inner.restore(rows)

    def on_restored(self) -> None:
        """As that of the processor inside."""
        self._inner.on_restored()


class Core(NamedTuple):
    """The processors of a worker with one partition, and the seconds they took, by topic."""

    replay: Replay
    spent: dict[str, float]


def core(decoder: Decoder) -> Core:
    """Every processor of a worker with one partition: sessions, devices, principals, networks."""
    spent: dict[str, float] = defaultdict(float)
    active = ActiveConfig(detector=load(SHIPPED / "default"), roles=load_roles(SHIPPED / "default"))
    active.use_policy(read_policy(None))
    options = Options(event_clock=True)
    session, *others = processor_specs(active, options)
    spec = ProcessorSpec(session.name, session.sources, lambda _: DecodingProcessor(active, decoder, options))

    def timed(spec: ProcessorSpec) -> ProcessorSpec:
        return replace(spec, create=lambda partition: Timed(spec.create(partition), spent))

    return Core(Replay(tuple(map(timed, (spec, *others)))), spent)


Window = tuple[list[Message], list[Arrived], int]


def windows(records: Iterator[InputRecord]) -> Iterator[Window]:
    """Records in order of time, as many at once as a worker under load takes."""
    now = 0
    while chunk := list(islice(records, WINDOW)):
        arrived = []
        for record in chunk:
            now = max(now, record.occurred_at)
            arrived.append(Arrived(now))
        yield [Message(record.topic, record_key(record), record.value) for record in chunk], arrived, now


def race(source: Sequence[Window], cores: Mapping[str, Core]) -> dict[str, list[float]]:
    """Processor seconds of each core for each block of windows; every core must say the same."""
    spent: dict[str, list[float]] = defaultdict(list)
    names = list(cores)
    for number, (messages, arrived, now) in enumerate(source):
        turn = number % len(names)
        output = []
        for name in names[turn:] + names[:turn]:
            before = sum(cores[name].spent.values())
            output.append(list(cores[name].replay._settle(list(messages), arrived, now)))
            taken = sum(cores[name].spent.values()) - before
            if number % BLOCK == 0:
                spent[name].append(0.0)
            spent[name][-1] += taken
        if any(other != output[0] for other in output):
            raise AssertionError(f"window {number}: decoders differ in what follows from them")
    if any(other.replay.state != cores[names[0]].replay.state for other in cores.values()):
        raise AssertionError("decoders differ in what is remembered")
    by_topic = dict(sorted(cores["bulk"].spent.items()))
    total = sum(by_topic.values())
    print(
        "bulk, share of each topic:", ", ".join(f"{topic} {seconds / total:.0%}" for topic, seconds in by_topic.items())
    )
    return spent


def report(title: str, spent: Mapping[str, list[float]], events: int) -> None:
    """Print µs an event and how much slower than the bulk reader each is, block by block."""
    print(title)
    for name, times in spent.items():
        ratios = [taken / bulk for taken, bulk in zip(times, spent["bulk"], strict=True)]
        low, *_, high = quantiles(ratios, n=10) if len(ratios) > 1 else (ratios[0], ratios[0])
        print(
            f"    {name:<14} {sum(times) / events * 1e6:6.2f} µs an event; processor time against bulk: "
            f"{median(ratios):.3f} (a tenth of blocks below {low:.3f}, a tenth above {high:.3f})"
        )


def simulated(folder: Path) -> None:
    """Write a morning of three companies."""
    with write(folder) as writer:
        for topic, event in simulate(seed=7, hours=2, principals=1_000, start_ms=1_772_409_600_000 + 8 * 3_600_000):
            writer.event(topic, event)


def main() -> None:
    """All of a recording twice: with caches that are cold, then at a later time with caches that are warm."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    limit, skipped = ([int(number) for number in sys.argv[2:4]] + [EVENTS, 0][len(sys.argv[2:4]) :])[:2]
    with TemporaryDirectory() as temporary:
        if folder is None:
            folder = Path(temporary) / "simulated"
            simulated(folder)
        source = list(windows(islice(read(folder), skipped, skipped + limit)))
    topics: dict[str, int] = defaultdict(int)
    for messages, _, _ in source:
        for message in messages:
            topics[message.topic] += 1
    events = sum(topics.values())
    print(machine())
    print(", ".join(f"{count:,} {topic}" for topic, count in topics.items()))
    names = sys.argv[4].split(",") if len(sys.argv) > 4 else list(decoders())
    chosen = {name: made for name, made in decoders().items() if name in {"bulk", *names}}
    race(source[:4], {name: core(made) for name, made in decoders().items()})  # compiles
    tune_garbage_collection()
    report("string caches cold at the start", race(source, {name: core(made) for name, made in chosen.items()}), events)
    report("string caches warm", race(source, {name: core(made) for name, made in chosen.items()}), events)


if __name__ == "__main__":
    main()
