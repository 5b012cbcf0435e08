"""The fold: equal to the slow reference event by event, and to itself however the stream is cut."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.events.batch import Batch
from models.events.columns import Columns
from models.features.table import FEATURE_NAMES
from models.features.volumes import BASELINE, VOLUMES, unpacked
from models.roles.roles import Roles
from models.state.segments import segments
from models.state.table import SOURCES, SessionTable, Subject
from models.updates.arrivals import learn_names, locate, unseen
from models.updates.call_sequence import USUAL_NAMES
from models.updates.fold import fold
from schemas.fields import YEAR_2000_MS
from tests.support.reference_fold import SlowSession
from tests.support.role_samples import sample_roles
from tests.support.samples import T0, auth, call, context

Event = dict[str, Any]
TOPIC = {"auth.event": "auth-events", "api.call": "api-calls", "session.context": "session-context"}
MAKE = {"auth.event": Columns.auths, "api.call": Columns.calls, "session.context": Columns.contexts}

FACTS = (
    "proved",
    "signed_in",
    "telemetry_gap",
    "used_at",
    "familiar",
    "refreshed_at",
    "since_refresh_s",
    "stage",
    "by_sim",
    "powerful",
    *BASELINE,
    *(f"usual_{name}" for name in VOLUMES),
    "role",
    "tenant_cohort",
    *USUAL_NAMES,
)
"""What only rules see."""

SOME_ROLES = sample_roles(7, "acme", "birch", "cedar")
TENANT = {"s-1": "acme", "s-2": "cedar", "s-3": "default"}
"""Two that the roles know, and one that they do not."""
SESSIONS = st.sampled_from(list(TENANT))
TIMES = st.integers(-20_000, 3 * 3_600_000)


def subject_name(session: str) -> dict[str, Any]:
    return {"tenant": TENANT[session], "session_id": session}


def _or_none(*values: Any) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(values)


CLIENT = st.fixed_dictionaries(
    {
        "ip": _or_none("192.0.2.1", "198.51.100.7", "2001:db8::1"),
        "asn": _or_none(64500, 64501),
        "user_agent": _or_none("Firefox/140", "Firefox/141", "curl/8.5", ""),
        "ja4": _or_none("t13d_a", "t13d_b"),
        "token_id": _or_none("t-1", "t-2"),
        "key_thumbprint": _or_none("k-1", "k-2"),
        "device_id": _or_none("phone-1", "phone-2"),
        "network_type": _or_none("wifi", "vpn", "cellular"),
        "latitude": _or_none(52.5, 48.25),
        "longitude": _or_none(13.5, 11.5),
    }
)
CALLS = st.builds(
    lambda client, session, at, rest: call(**client, **rest, **subject_name(session), occurred_at=T0 + at),
    CLIENT,
    SESSIONS,
    TIMES,
    st.fixed_dictionaries(
        {
            "principal_kind": st.sampled_from(["human", "human", "agent"]),
            "operation": st.sampled_from(["GET /x", "iam:CreateAccessKey", "POST /roles/{id}/grants"]),
            "status": _or_none(200, 403, 404, 500),
            "method": _or_none("GET", "POST"),
            "bytes_out": _or_none(0, 10_000, 2**40),
            "records": _or_none(0, 3, 5_000),
            "sensitivity": _or_none("public", "restricted"),
            "tool": _or_none("search", "mail", "shell"),
            "scope": _or_none("read", "admin"),
            "resource": _or_none("r-1", "r-2", "ü", "x" * 100),
        }
    ),
)
AUTHS = st.builds(
    lambda client, session, at, action: auth(**client, **subject_name(session), occurred_at=T0 + at, **action),
    CLIENT,
    SESSIONS,
    TIMES,
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(
                [
                    "sign_in",
                    "sign_in_failed",
                    "mfa_denied",
                    "mfa_failed",
                    "other",
                    "mfa_passed",
                    "credential_added",
                    "sign_out",
                    "token_refreshed",
                ]
            ),
            "amr": _or_none(["sms"], ["hwk"], []),
            "scopes": _or_none(["mail"], ["mail", "admin:org"]),
        }
    ),
)
CONTEXTS = st.builds(
    lambda session, at, events, rest: context(
        **subject_name(session), occurred_at=T0 + at, heard_at=T0 + events, **rest
    ),
    SESSIONS,
    TIMES,
    TIMES,
    st.fixed_dictionaries(
        {
            "source": st.sampled_from(["device", "principal", "lineage"]),
            "rooted": _or_none(True, False),
            "managed": _or_none(True, False),
            "malware": _or_none("none", "detected"),
            "attestation": _or_none("strong", "failed"),
            "attested_at": _or_none(T0 - 60_000, T0 + 60_000),
            "heartbeat_interval_ms": _or_none(30_000, 60_000),
            "novelty": _or_none(0.25, 1.0),
            "concurrent_sessions": _or_none(0, 3),
            "sessions_seen": _or_none(0, 9),
            "days_known": _or_none(0, 7, 400),
            "usual": _or_none({}, {"calls_10m": 1.0, "sensitive_records_10m": 31.0}),
            "usual_concurrent": _or_none(2),
            "hour_share": _or_none(0.0, 0.2),
            "strange_sessions": _or_none(4),
        }
    ),
)
STREAMS = st.lists(CALLS | AUTHS | CONTEXTS, min_size=1, max_size=40)


def fast(
    events: list[Event], cuts: set[int], roles: Roles | None = SOME_ROLES
) -> tuple[list[list[float]], SessionTable]:
    """Features after every event, with chunks ended at *cuts* (and wherever the topic changes)."""
    table, columns, offset = SessionTable(), Columns(bytes(16)), 0
    answers: list[list[float]] = []
    chunks = [list(g) for _, g in groupby(enumerate(events), lambda e: (e[1]["type"], sum(c <= e[0] for c in cuts)))]
    for chunk in chunks:
        batch: Batch = MAKE[chunk[0][1]["type"]](columns, [event for _, event in chunk])
        rows = locate(table, batch)
        offsets = np.arange(offset, offset + len(batch))
        offset += len(batch)
        source = SOURCES.index(TOPIC[chunk[0][1]["type"]])
        fresh, seg = unseen(table, batch, rows, source, offsets)
        assert fresh.size == len(batch)
        folded = fold(table, seg, batch, roles)
        learn_names(table, folded)
        seen = np.vstack([folded.values, *(folded.facts[name][None] for name in FACTS)])
        values = np.empty_like(seen)
        values[:, seg.order] = seen
        answers += values.T.tolist()
    return answers, table


def slow(events: list[Event], sessions: dict[str, SlowSession] | None = None) -> list[list[float]]:
    """The same of the slow reference; *sessions*, if given, are filled with what it remembers."""
    sessions = {} if sessions is None else sessions
    answers = []
    for event in events:
        session = sessions.setdefault(event["session_id"], SlowSession(event, SOME_ROLES))
        features = session.fold(event)
        answers.append([float(features[name]) for name in (*FEATURE_NAMES, *FACTS)])
    return answers


@given(STREAMS, st.sets(st.integers(1, 40)))
@settings(max_examples=300)
def test_the_fold_equals_the_slow_reference_after_every_event(events: list[Event], cuts: set[int]) -> None:
    answers, _ = fast(events, cuts)

    expected = slow(events)

    np.testing.assert_allclose(answers, expected, rtol=1e-9, atol=1e-9)


@given(STREAMS, st.sets(st.integers(1, 40)))
@settings(max_examples=100)
def test_a_row_remembers_the_most_of_each_volume_never_too_small(events: list[Event], cuts: set[int]) -> None:
    _, table = fast(events, cuts)
    sessions: dict[str, SlowSession] = {}
    slow(events, sessions=sessions)

    for session_id, session in sessions.items():
        kept = unpacked(table.rows["peaks"][table.find(TENANT[session_id], session_id)])
        most = np.array(list(session.peaks.values()))
        assert (kept >= most - 1e-6).all()
        assert (kept <= (1 + most) * 2 ** (1 / 8) - 1 + 1e-6).all()


@given(STREAMS, st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)))
@settings(max_examples=300)
def test_where_the_stream_is_cut_changes_no_bit(events: list[Event], one: set[int], other: set[int]) -> None:
    answers, table = fast(events, one)
    others, same = fast(events, other)

    assert answers == others
    assert table.rows[: table.used].tobytes() == same.rows[: same.used].tobytes()
    assert table.names == same.names


@given(st.lists(st.tuples(SESSIONS, st.integers(0, 9)), min_size=1, max_size=60), st.sets(st.integers(1, 60)))
@settings(max_examples=200)
def test_an_id_among_the_last_two_of_its_session_is_folded_once(sent: list[tuple[str, int]], cuts: set[int]) -> None:
    table, columns = SessionTable(), Columns(bytes(16))
    kept: list[tuple[str, int]] = []
    last: dict[str, list[int]] = {}
    for session, number in sent:
        if number not in last.setdefault(session, []):
            kept.append((session, number))
            last[session] = [*last[session], number][-2:]

    found = []
    for _, group in groupby(enumerate(sent), lambda item: sum(cut <= item[0] for cut in cuts)):
        chunk = [pair for _, pair in group]
        batch = columns.calls([call(session_id=s, event_id=f"id-{n}") for s, n in chunk])
        fresh, _ = unseen(table, batch, locate(table, batch), -1, np.full(len(batch), -1))
        found += [chunk[at] for at in fresh.tolist()]

    assert found == kept


def test_an_offset_already_applied_is_not_folded_again() -> None:
    table, columns = SessionTable(), Columns(bytes(16))
    batch = columns.calls([call(1), call(2), call(3)])

    first, _ = unseen(table, batch, locate(table, batch), 1, np.array([7, 8, 9]))
    again = columns.calls([call(2), call(3), call(4)])
    second, _ = unseen(table, again, locate(table, again), 1, np.array([8, 9, 10]))

    assert (first.tolist(), second.tolist()) == ([0, 1, 2], [2])


def test_a_session_with_a_whole_chunk_of_events_folds_like_any_other() -> None:
    events = [call(at=index / 10, records=index % 7) for index in range(512)]

    answers, _ = fast(events, set())

    np.testing.assert_allclose(answers, slow(events), rtol=1e-9, atol=1e-9)


def test_sums_survive_years_between_events_and_the_beginning_of_time() -> None:
    events = [
        call(occurred_at=YEAR_2000_MS, records=5),
        call(occurred_at=T0, records=1),
        call(occurred_at=YEAR_2000_MS + 5, records=9),
    ]

    answers, _ = fast(events, set())

    np.testing.assert_allclose(answers, slow(events), rtol=1e-9, atol=1e-9)


def test_a_device_that_only_an_older_sign_in_tells_is_known_though_it_is_read_late() -> None:
    events = [call(60, device_id=None), call(0, device_id="phone-7")]
    table, batch = SessionTable(), Columns(bytes(16)).calls(events)

    folded = fold(table, segments(locate(table, batch)), batch)
    learn_names(table, folded)

    assert folded.facts["device_new"].tolist() == [False, True]
    assert folded.facts["device_changed"].tolist() == [False, False]
    assert folded.facts["bound"].tolist() == [False, True]
    assert Subject.unpack(table.names[0]).device_id == "phone-7"
