"""Whatever comes in masses: memory stays bounded, rows fit into records, what is forgotten is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.state.table import REVOKED
from pipeline.assembly import processor_specs
from pipeline.contexts.device.processor import MAX_SESSIONS as MOST_OF_DEVICE
from pipeline.contexts.device.processor import device_context
from pipeline.contexts.device.rollouts import MAX_TENANTS, RolloutTracker
from pipeline.contexts.keyed_processor import KeyedProcessor
from pipeline.contexts.network import network_context
from pipeline.contexts.principal.processor import MAX_SESSIONS as MOST_OF_PRINCIPAL
from pipeline.contexts.principal.processor import principal_context
from pipeline.control.active import ActiveConfig
from pipeline.decisions.risk_state import MAX_CHILDREN, MAX_EVIDENCE, DetectionEpisode, SessionRiskState
from pipeline.detections import DETECTIONS
from pipeline.kafka.producer import MAX_REQUEST_BYTES
from pipeline.processing.processor import Processor, pack_key
from pipeline.sessions.processor import Options
from schemas import topics
from tests.support.run_processors import NOW, Desk, Event, Player, Rec, of, replayed
from tests.support.samples import T0, activity, attempt, auth, binding, call, context, feedback, telemetry

pytestmark = pytest.mark.slow

CHUNK = 512
BETWEEN = b"\xff"
MOST_BYTES = MAX_REQUEST_BYTES - 1_000
"""Of a changelog row's value, beside its key."""
WORST = "\x01"
"""The character that takes most room in JSON: six bytes."""


def worst(number: int, length: int = 128) -> str:
    """A name that is as long as a name may be, in bytes too."""
    return f"{number:06d}" + WORST * (length - 6)


def masses(one: Player, events: Iterator[Event]) -> int:
    """Play *events* in chunks; return the bytes of the largest row there ever was."""
    largest = 0
    chunk: list[Event] = []
    for event in events:
        chunk.append(event)
        if len(chunk) == CHUNK:
            one.play(*chunk)
            largest = max(largest, *map(len, one.rows.values()))
            chunk = []
    if chunk:
        one.play(*chunk)
    return max(largest, *map(len, one.rows.values()))


# --- sessions -----------------------------------------------------------------------------------------------

MILLION = 1_000_000
PER_SECOND = 20_000
ROW_BYTES = 800
"""Of a session all in, with half of the index empty."""


def _signs_in(number: int) -> Rec:
    at = T0 + number * 1000 // PER_SECOND
    name = f"{number:08x}-5e55-4000-8000-0000{number:08x}"
    value = (
        f'{{"type":"auth.event","event_id":"e-{number}","occurred_at":{at},"session_id":"{name}",'
        f'"principal_id":"p-{number}","principal_kind":"human","action":"sign_in","device_id":"d-{number}",'
        f'"ip":"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}","asn":64500}}'
    )
    return Rec(topics.AUTH_EVENTS, 0, number, at, name.encode(), value.encode())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


@pytest.mark.faults
def test_of_a_million_sessions_that_never_end_as_many_are_held_as_may_be() -> None:
    desk = Desk()
    table, most = desk.scorer.table, desk.options.max_sessions
    desk.play(auth(0, session_id="fallen"))
    desk.play(feedback(0, session_id="fallen", verdict="confirmed_compromised"))
    largest, evicted, tombstones = 0, 0, 0
    before = _resident_bytes()
    for start in range(1, MILLION, CHUNK):
        records = [_signs_in(number) for number in range(start, min(start + CHUNK, MILLION))]
        outcome = desk.scorer.process(topics.AUTH_EVENTS, records, NOW)
        evicted += outcome.counts.get(("evicted_sessions",), 0)
        tombstones += sum(value is None for _, value in outcome.rows)
        largest = max(largest, len(table))

    assert largest <= 2 * most
    assert evicted == tombstones == MILLION - len(table)
    assert table.nbytes < 2 * most * ROW_BYTES
    assert _resident_bytes() - before < 4 * most * ROW_BYTES
    fallen = table.find("default", "fallen")
    assert table.rows["flags"][fallen] & REVOKED  # nobody has acknowledged it yet: it must be said again
    assert table.find("default", "00000001-5e55-4000-8000-000000000001") == -1
    newest = f"{MILLION - 1:08x}-5e55-4000-8000-0000{MILLION - 1:08x}"
    assert table.find("default", newest) >= 0


BURST = 100_000


@pytest.mark.faults
def test_a_session_of_a_hundred_thousand_events_in_one_second_stays_as_small_as_any() -> None:
    desk = Desk()
    largest, sent_number, half_way = 0, 0, 0
    desk.play(auth(0))
    for start in range(0, BURST, CHUNK):
        records = [_hostile_call(number) for number in range(start, min(start + CHUNK, BURST))]
        outcome = desk.scorer.process(topics.API_CALLS, records, NOW)
        sent_number += len(outcome.messages)
        largest = max(largest, *(len(value or b"") for _, value in outcome.rows))
        if start == BURST // 2 // CHUNK * CHUNK:
            half_way = _resident_bytes()

    assert largest < 16_000
    assert sent_number <= 4 * BURST
    assert _resident_bytes() - half_way < 64 * 2**20
    assert len(desk.scorer.table) == len(desk.scorer.risk_states) == 1


def _hostile_call(number: int) -> Rec:
    """A call of session s-1, by another client, of another thing, than the one before."""
    value = (
        f'{{"type":"api.call","event_id":"e-{number}","occurred_at":{T0 + number * 1000 // BURST},'
        f'"session_id":"s-1","principal_id":"ana","principal_kind":"human","operation":"DELETE /x/{number}",'
        f'"status":200,"records":9,"sensitivity":"restricted","scope":"scope-{number}","tool":"t-{number}",'
        f'"resource":"r-{number}","device_id":"d-{number}","token_id":"t-{number}","ja4":"j-{number}",'
        f'"ip":"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}","asn":{number % 60_000},'
        f'"user_agent":"agent-{number}"}}'
    )
    return Rec(topics.API_CALLS, 0, number, T0, b"s-1", value.encode())


# --- what remembers sessions --------------------------------------------------------------------------------


def test_a_device_of_ten_thousand_sessions_remembers_the_newest() -> None:
    player, count = Player(device_context()), 10_000
    player.play(telemetry(0, rooted=False))
    largest = masses(player, (binding(1, session_id=f"s-{at:036d}") for at in range(count)))

    outputs = player.play(telemetry(2, rooted=True))

    newest = [f"s-{at:036d}" for at in range(count - MOST_OF_DEVICE, count)]
    assert [message.key for message in outputs] == newest
    assert player.counts["forgotten_sessions", "device"] == count - MOST_OF_DEVICE
    assert largest < MOST_BYTES


@pytest.mark.faults
def test_a_principal_of_a_hundred_thousand_sessions_remembers_the_newest() -> None:
    player, count = Player(principal_context()), 100_000
    largest = 0
    for start in range(0, count, CHUNK):
        records = [_starts(number) for number in range(start, min(start + CHUNK, count))]
        player.stage.process(topics.PRINCIPAL_ACTIVITY, records, NOW)
    outputs = player.play(activity(60, session_id="s-0"), activity(60, kind="ended", session_id=f"s-{count - 1}"))
    largest = max(map(len, player.rows.values()))

    state = player.stage.records["default", "ana"]  # type: ignore[attr-defined]
    assert list(state.live) == [*(f"s-{at}" for at in range(count - MOST_OF_PRINCIPAL + 1, count - 1)), "s-0"]
    assert outputs[0].body["concurrent_sessions"] == MOST_OF_PRINCIPAL - 1
    assert largest < MOST_BYTES


def _starts(number: int) -> Rec:
    value = (
        f'{{"type":"principal.activity","event_id":"e-{number}","occurred_at":{T0 + number // 10},'
        f'"session_id":"s-{number}","principal_id":"ana","principal_kind":"human","kind":"started",'
        f'"device_id":"d-{number}","ip":"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"}}'
    )
    return Rec(topics.PRINCIPAL_ACTIVITY, 0, number, T0 + number // 10, b"ana", value.encode())


def test_what_a_principal_forgets_of_its_sessions_is_counted() -> None:
    player, count = Player(principal_context()), MOST_OF_PRINCIPAL + 100

    largest = masses(player, (activity(1, session_id=f"s-{at}") for at in range(count)))

    assert player.counts["forgotten_sessions", "principal"] == 100
    assert largest < MOST_BYTES


def test_a_parent_of_ten_thousand_children_takes_the_newest_with_it() -> None:
    desk, count = Desk(), 10_000
    desk.play(auth(0))
    children = [f"c-{at:036d}" for at in range(count)]
    largest = masses(desk, (context(1, source="lineage", relation="child", child_session_id=name) for name in children))

    outputs = desk.play(feedback(2, verdict="confirmed_compromised"))

    fallen = [event["session_id"] for event in of(outputs, topics.SESSION_CONTEXT) if event.get("relation")]
    assert fallen == children[-MAX_CHILDREN:]
    assert desk.counts["forgotten_children",] == count - MAX_CHILDREN
    assert largest < MOST_BYTES


def test_a_chain_a_thousand_deep_falls_whole_and_each_session_is_told_a_few_times() -> None:
    depth = 1_000
    events = [auth(0, session_id="n-0")]
    events += [
        auth(at / 100, session_id=f"n-{at}", parent_session_id=f"n-{at - 1}", action="token_exchanged")
        for at in range(1, depth + 1)
    ]

    outputs = replayed([*events, feedback(20, session_id="n-0", verdict="confirmed_compromised"), call(90)])

    commands = {event["session_id"]: event["revocation_id"] for event in of(outputs, topics.SESSION_REVOCATIONS)}
    assert set(commands) == {f"n-{at}" for at in range(depth + 1)}
    assert len(set(commands.values())) == depth + 1
    assert len(of(outputs, topics.SESSION_CONTEXT)) <= 5 * depth


# --- rows ---------------------------------------------------------------------------------------------------


def _worst_device() -> int:
    player = Player(device_context())
    player.play(telemetry(0, os_version=worst(0, 64), sim_id=worst(0), malware_family=worst(0)))
    return masses(player, (binding(1, session_id=worst(at)) for at in range(MOST_OF_DEVICE)))


def _worst_principal() -> int:
    player = Player(principal_context())
    largest = masses(
        player,
        (
            activity(
                1,
                session_id=worst(at),
                device_id=worst(at),
                user_agent=chr(0x1F000 + at % 500) + WORST * 511,
                ja4=worst(at, 64),
                ip=f"2001:db8:{at:x}::1",
                used=[f"scope:{worst(at, 240)}"],
            )
            for at in range(MOST_OF_PRINCIPAL)
        ),
    )
    ends = (activity(2, session_id=worst(at), kind="revoked") for at in range(MOST_OF_PRINCIPAL))
    return max(largest, masses(player, ends))


def _worst_network() -> int:
    player = Player(network_context())
    return masses(
        player,
        (
            attempt(principal_id=worst(at), session_id=worst(at), ja4=worst(at, 64), action=action)
            for action in ("sign_in_failed", "sign_in")
            for at in range(1_000)
        ),
    )


def _worst_session() -> int:
    desk = Desk()
    desk.play(auth(0))
    largest = masses(
        desk,
        (context(1, source="lineage", relation="child", child_session_id=worst(at)) for at in range(MAX_CHILDREN)),
    )
    evidence = [worst(at) for at in range(MAX_EVIDENCE)]
    episodes = {rule.id: DetectionEpisode(T0, T0, 1.5, evidence, WORST * 256) for rule in DETECTIONS}
    return largest + len(SessionRiskState(episodes=episodes, devices=[worst(at) for at in range(16)]).encode())


@pytest.mark.parametrize("row", [_worst_device, _worst_principal, _worst_network, _worst_session])
def test_a_row_fits_into_a_record_whatever_the_names_in_it(row: Callable[[], int]) -> None:
    assert row() < MOST_BYTES


# --- records of a partition ---------------------------------------------------------------------------------

HELD = 300
FLOOD = 5_000
FLOODS: dict[str, tuple[Callable[..., KeyedProcessor[Any, Any]], Callable[..., Event], Callable[..., Event]]] = {
    "devices": (
        device_context,
        lambda name, **more: binding(0, device_id=name, **more),
        lambda name, **more: telemetry(1, device_id=name, **more),
    ),
    "principals": (
        principal_context,
        lambda name, **more: activity(0, principal_id=name, device_id="laptop", **more),
        lambda name, **more: activity(1, principal_id=name, guess=True, **more),
    ),
    "networks": (
        network_context,
        lambda name, **more: attempt(0, network=name, **more),
        lambda name, **more: attempt(1, network=name, action="sign_in_failed", **more),
    ),
}
"""What makes a context; an event after which it knows something; and one of a name that may be made up."""


@pytest.mark.parametrize("kind", FLOODS)
def test_names_that_are_made_up_push_each_other_out_and_nothing_that_was_learned(kind: str) -> None:
    make, learns, made_up = FLOODS[kind]
    player = Player(make(max_records=HELD))
    for at in range(HELD // 2):
        player.play(learns(f"known-{at}"))

    masses(player, (made_up(f"flood-{at}") for at in range(FLOOD)))

    assert _held(player) == {f"known-{at}" for at in range(HELD // 2)} | {
        f"flood-{at}" for at in range(FLOOD - HELD // 2, FLOOD)
    }
    assert player.counts["evicted_records",] == HELD // 2 + FLOOD - HELD


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_one_tenant_costs_no_other(kind: str) -> None:
    make, learns, made_up = FLOODS[kind]
    player = Player(make(max_records=HELD))
    for at in range(HELD // 3):
        player.play(made_up(f"own-{at}", tenant="quiet"))

    masses(player, (learns(f"flood-{at}", tenant="loud") for at in range(FLOOD)))

    assert {name for name in _held(player) if name.startswith("own")} == {f"own-{at}" for at in range(HELD // 3)}
    assert len(_held(player)) == HELD


@pytest.mark.parametrize("kind", FLOODS)
def test_a_worker_that_takes_over_has_room_for_as_many_and_forgets_as_well(kind: str) -> None:
    make, learns, made_up = FLOODS[kind]
    this_player = Player(make(max_records=HELD))
    this_player.play(learns("known"))
    masses(this_player, (made_up(f"flood-{at}") for at in range(HELD)))
    other = Player(make(max_records=HELD))
    other.stage.restore(this_player.rows.items())
    other.stage.on_restored()
    other.rows = dict(this_player.rows)

    for player in (this_player, other):
        masses(player, (made_up(f"more-{at}") for at in range(HELD // 2)))
        assert {"known", *(f"more-{at}" for at in range(HELD // 2))} < _held(player)
        assert len(_held(player)) == HELD


def test_tenants_that_are_made_up_are_bounded_like_all_names() -> None:
    player = Player(principal_context(max_records=HELD))

    masses(player, (activity(0, tenant=f"t-{at}", principal_id="p", used=["scope:a"]) for at in range(FLOOD)))

    assert len(player.rows) == 2 * HELD  # each with what its principals share


def test_the_fleets_of_tenants_that_are_made_up_are_bounded_too() -> None:
    rollouts = RolloutTracker()
    for at in range(2 * MAX_TENANTS):
        rollouts.add_report(f"t-{at}", 0, T0)
        rollouts.add_downgrade(f"t-{at}", "managed", 0, T0)

    assert (len(rollouts._active), len(rollouts._downgraded)) == (MAX_TENANTS, MAX_TENANTS)
    assert next(iter(rollouts._active)) == f"t-{MAX_TENANTS}"


def _held(one: Player) -> set[str]:
    """The names that are held; the changelog says the same."""
    stage: KeyedProcessor[Any, Any] = one.stage  # type: ignore[assignment]
    held = {(tenant, name) for tenant, name in stage.records if name}
    assert {key for key in one.rows if not key.endswith(BETWEEN)} == {pack_key(key) for key in held}
    return {name for _, name in held}


def test_by_default_every_stage_is_bounded() -> None:
    stages: dict[str, Processor] = {kind.name: kind.create(0) for kind in processor_specs(ActiveConfig(), Options())}

    rooms = {name: stage._lru._limit for name, stage in stages.items() if isinstance(stage, KeyedProcessor)}
    assert rooms == {"device": 200_000, "principal": 200_000, "network": 50_000}
    assert Options().max_sessions == 200_000
