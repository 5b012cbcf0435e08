"""Cohorts: usual values of a tenant, learned from enough sessions, and refused if incomplete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.artefacts import SHIPPED, load_roles, pack, unpack
from models.events.columns import KINDS, PRINCIPAL_KIND, Columns
from models.events.text_hashing import short_fingerprint
from models.roles.cohort_fit import CREDIBILITY_SESSIONS, MIN_CALLS, MIN_SESSIONS, Reached, fit_cohorts, shrunk, weight
from models.roles.cohorts import MAX_TENANTS, NAMES, QUANTILES, UPPER, Cohorts
from models.roles.fit import with_usual
from models.roles.roles import VOLUMES, BadRoles, Roles, from_arrays
from models.state.segments import segments
from models.state.table import ROLES, SessionTable
from models.updates.arrivals import locate
from models.updates.fold import fold
from tests.support.role_samples import sample_roles
from tests.support.samples import call, context

HUMAN, AGENT = PRINCIPAL_KIND["human"], PRINCIPAL_KIND["agent"]
ALL_TENANTS = np.full((len(KINDS), ROLES + 1, len(VOLUMES), len(QUANTILES)), 10.0)
AMOUNTS = st.floats(0.0, 1e9) | st.integers(0, 5_000).map(float)


def reached(*tenants: tuple[str, float, int, int]) -> Reached:
    """Tenants by name: what each of their calls reached, in how many sessions of how many calls, role 0."""
    parts = []
    for name, value, sessions, calls in tenants:
        n = sessions * calls
        keys = np.repeat(np.arange(sessions), calls) + 1_000_000 * short_fingerprint(name)
        parts.append(
            Reached(
                np.full((n, len(VOLUMES)), value),
                np.full(n, HUMAN, np.uint8),
                np.zeros(n, np.int64),
                keys.astype(np.uint64),
                np.full(n, short_fingerprint(name), np.uint32),
            )
        )
    return Reached.together(parts)


def known(cohorts: Cohorts) -> dict[int, list[tuple[str, int, int]]]:
    """Of each tenant, which cohorts are its own: kind, role, and from how many sessions."""
    return {
        tenant: [(KINDS[kind], role, int(own[kind, role])) for kind, role in np.argwhere(own).tolist()]
        for tenant, own in zip(cohorts.tenants.tolist(), cohorts.sessions, strict=True)
    }


# --- how much of a cohort is the tenant's own word --------------------------------------------------------


@given(AMOUNTS, AMOUNTS, st.integers(0, 10**6), st.integers(1, 10**6))
def test_the_more_sessions_the_nearer_to_the_tenants_own_and_never_beyond(
    own: float, everybody: float, sessions: int, more: int
) -> None:
    values = [shrunk(np.array([own]), np.array([everybody]), n)[0] for n in (0, sessions, sessions + more)]

    distances = [abs(np.log1p(item) - np.log1p(own)) for item in values]
    assert values[0] == pytest.approx(everybody, rel=1e-9, abs=1e-9)
    assert distances[2] <= distances[1] + 1e-9 <= distances[0] + 2e-9
    assert min(own, everybody) * (1 - 1e-9) - 1e-9 <= values[1] <= max(own, everybody) * (1 + 1e-9) + 1e-9
    assert np.log1p(values[1]) == pytest.approx(
        np.log1p(everybody) + weight(sessions) * (np.log1p(own) - np.log1p(everybody)), rel=1e-9, abs=1e-9
    )


@given(st.lists(AMOUNTS, min_size=3, max_size=3), st.lists(AMOUNTS, min_size=3, max_size=3), st.integers(0, 999))
def test_a_higher_quantile_stays_the_higher_one(own: list[float], everybody: list[float], sessions: int) -> None:
    floats = shrunk(np.array(sorted(own)), np.array(sorted(everybody)), sessions)

    assert (np.diff(floats) >= -1e-9 * (1 + floats[1:])).all()


def test_values_below_zero_are_shrunk_as_well() -> None:
    assert shrunk(np.array([-3.0]), np.array([15.0]), int(CREDIBILITY_SESSIONS)).tolist() == [pytest.approx(1.0)]


# --- tenants with a cohort -------------------------------------------------------------------------------------


def test_a_tenant_with_enough_sessions_has_its_own_cohort_and_a_small_one_has_not() -> None:
    calls = reached(("large", 1_000.0, 270, 4), ("small", 1_000.0, MIN_SESSIONS - 1, 40), ("rest", 1.0, 30, 4))

    cohorts = fit_cohorts(ALL_TENANTS, calls)

    assert known(cohorts) == {
        short_fingerprint("large"): [("human", 0, 270), ("human", ROLES, 270)],
        short_fingerprint("rest"): [("human", 0, 30), ("human", ROLES, 30)],
    }
    large, rest = (cohorts.tenants.tolist().index(short_fingerprint(name)) for name in ("large", "rest"))
    upper = cohorts.upper(ALL_TENANTS[..., UPPER])
    assert upper[1 + large, HUMAN, 0, 0] == pytest.approx(11 * (1_001 / 11) ** 0.9 - 1)
    assert upper[1 + rest, HUMAN, 0, 0] == pytest.approx(np.sqrt(2 * 11) - 1)
    assert (upper[1:, HUMAN, 1:ROLES] == 10.0).all()
    assert (upper[1:, AGENT] == 10.0).all()
    assert (upper[0] == 10.0).all()


def test_many_sessions_with_hardly_a_call_are_not_enough() -> None:
    calls = reached(("large", 1.0, 99, 9), ("brief", 9.0, MIN_CALLS - 1, 1))

    assert list(known(fit_cohorts(ALL_TENANTS, calls))) == [short_fingerprint("large")]


def test_the_only_tenant_has_no_cohort_of_its_own() -> None:
    assert known(fit_cohorts(ALL_TENANTS, reached(("alone", 9.0, 300, 9)))) == {}


def test_of_too_many_tenants_those_with_most_sessions_have_cohorts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.roles.cohort_fit.MAX_TENANTS", 2)
    calls = reached(*((name, 9.0, sessions, 9) for name, sessions in (("a", 40), ("b", 60), ("c", 50))))

    assert set(known(fit_cohorts(ALL_TENANTS, calls))) == {short_fingerprint("b"), short_fingerprint("c")}


@given(st.randoms(use_true_random=False))
def test_the_order_of_calls_does_not_change_the_bytes_learned(random: Any) -> None:
    calls = reached(("a", 9.0, 40, 3), ("b", 3.0, 50, 3))
    order = list(range(len(calls.values)))
    random.shuffle(order)

    learned = [with_usual(sample_roles(), some) for some in (calls, calls.take(np.array(order)))]

    assert pack(learned[0].arrays) == pack(learned[1].arrays)
    assert learned[0].cohorts.tenants.size == 2


def test_no_cohorts_are_learned_where_they_are_not_wanted() -> None:
    calls = reached(("a", 9.0, 40, 3), ("b", 3.0, 50, 3))

    assert set(with_usual(sample_roles(), calls, tenants=False).arrays).isdisjoint(NAMES)


# --- in the fold ------------------------------------------------------------------------------------------


def seen(roles: Roles, *events: dict[str, Any], table: SessionTable | None = None) -> list[tuple[float, bool]]:
    """The usual number of calls in ten minutes at each of *events*, and whether it is the tenant's own."""
    table = SessionTable() if table is None else table
    batch = (Columns(bytes(16)).calls if events[0]["type"] == "api.call" else Columns(bytes(16)).contexts)(list(events))
    folded = fold(table, segments(locate(table, batch)), batch, roles)
    usual = np.empty(len(events))
    own = np.empty(len(events), np.bool_)
    usual[folded.seg.order], own[folded.seg.order] = (
        folded.facts[name] for name in ("role_usual_calls_10m", "tenant_cohort")
    )
    return list(zip(usual.tolist(), own.tolist(), strict=True))


def test_each_session_of_a_chunk_is_compared_with_its_own_tenants_cohort() -> None:
    roles = sample_roles(7, "acme", "birch")
    at = VOLUMES.index("calls_10m")
    everybody = roles.usual[HUMAN, ROLES, at, UPPER]
    own = dict(zip(roles.cohorts.tenants.tolist(), roles.cohorts.usual[:, HUMAN, ROLES, at, UPPER], strict=True))

    names = ("birch", "nobody", "acme", "birch")
    calls = [call(at, tenant=name, session_id=f"s-{at}") for at, name in enumerate(names)]

    assert seen(roles, *calls) == [
        (own[short_fingerprint("birch")], True),
        (everybody, False),
        (own[short_fingerprint("acme")], True),
        (own[short_fingerprint("birch")], True),
    ]


def test_a_context_event_uses_the_cohort_of_the_calls_before_it() -> None:
    table = SessionTable()
    called = seen(sample_roles(7, "acme"), call(tenant="acme"), table=table)

    pairs = seen(sample_roles(7, "acme"), context(9, tenant="acme"), table=table)

    assert pairs == called == [(pairs[0][0], True)]


# --- on disk ----------------------------------------------------------------------------------------------


def test_cohorts_are_loaded_from_disk_unchanged_and_change_the_tag() -> None:
    plain, roles = sample_roles(7), sample_roles(7, "acme", "birch")

    back = from_arrays(unpack(pack(roles.arrays)))

    assert back.tag == roles.tag != plain.tag
    assert {name: back.cohorts.arrays[name].tolist() for name in NAMES} == {
        name: roles.cohorts.arrays[name].tolist() for name in NAMES
    }


def test_a_model_from_before_there_were_cohorts_has_those_of_all_tenants_and_its_old_tag() -> None:
    old = sample_roles(7)

    back = from_arrays(unpack(pack(old.arrays)))

    assert set(old.arrays).isdisjoint(NAMES)
    assert (back.tag, back.cohorts.tenants.size) == (old.tag, 0)
    assert (back.upper == old.usual[None, ..., UPPER]).all()


def test_the_model_that_ships_knows_no_tenant() -> None:
    roles = load_roles(SHIPPED / "default")

    assert roles is not None
    assert roles.cohorts.arrays == {}


Arrays = dict[str, NDArray[Any]]


def with_one(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {name: change(arrays[name].copy())}


def infinite(usual: NDArray[Any]) -> NDArray[Any]:
    usual[0, 1, 2, 3, 1] = np.inf
    return usual


SPOILT: list[tuple[str, Callable[[Arrays], Arrays]]] = [
    (
        "it has no tenant_usual",
        lambda arrays: {name: values for name, values in arrays.items() if name != "tenant_usual"},
    ),
    ("tenants is uint64 .* where uint32", with_one("tenants", lambda values: values.astype(np.uint64))),
    (
        "tenant_usual is float32 .* where float64",
        with_one("tenant_usual", lambda values: values.astype(np.float32)),
    ),
    ("tenant_usual is float64 .* is due", with_one("tenant_usual", lambda values: values[:, :, 1:])),
    ("tenant_sessions is int64 .* is due", with_one("tenant_sessions", lambda values: values[1:])),
    ("not in order", with_one("tenants", lambda values: values[::-1])),
    ("not in order", with_one("tenants", lambda values: values[[0, 0]])),
    ("not in order", with_one("tenants", lambda values: values * np.uint32(0))),
    ("not all numbers", with_one("tenant_usual", infinite)),
    ("of which it learned nothing", with_one("tenant_sessions", np.zeros_like)),
    ("of which it learned nothing", with_one("tenant_sessions", lambda values: -values)),
]


@pytest.mark.parametrize(("why", "spoil"), SPOILT)
def test_incomplete_cohorts_are_refused_with_the_reason(why: str, spoil: Callable[[Arrays], Arrays]) -> None:
    with pytest.raises(BadRoles, match=why):
        from_arrays(spoil(sample_roles(7, "acme", "birch").arrays))


def test_more_tenants_than_there_may_be_are_refused() -> None:
    names = [f"t-{at}" for at in range(MAX_TENANTS + 1)]

    with pytest.raises(BadRoles, match="too many"):
        from_arrays(sample_roles(7, *names).arrays)
    assert from_arrays(sample_roles(7, *names[1:]).arrays).cohorts.tenants.size == MAX_TENANTS


def test_a_card_lists_tenants_without_their_names() -> None:
    cohorts = fit_cohorts(ALL_TENANTS, reached(("acme", 9.0, 40, 3), ("birch", 3.0, 50, 3)))

    assert cohorts.summary == [
        {"tenant": f"{short_fingerprint('birch'):08x}", "sessions": 50, "roles": 1, "kinds": ["human"]},
        {"tenant": f"{short_fingerprint('acme'):08x}", "sessions": 40, "roles": 1, "kinds": ["human"]},
    ]
    assert replace(sample_roles(), cohorts=cohorts).tag != sample_roles().tag
