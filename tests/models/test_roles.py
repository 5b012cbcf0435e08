"""Roles: learned from the calls of sessions, reproducibly, and refused if incomplete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.events.columns import KINDS, PRINCIPAL_KIND
from models.roles.cohort_fit import Reached
from models.roles.cohorts import QUANTILES
from models.roles.fit import Calls, fit_roles, sample_calls, with_usual
from models.roles.roles import OTHER, VOLUMES, BadRoles, Roles, from_arrays, operation_hashes
from models.state.table import ROLES
from tests.support.role_samples import sample_roles

HUMAN, SERVICE, AGENT = (PRINCIPAL_KIND[kind] for kind in ("human", "service", "agent"))
Session = tuple[str, Sequence[str]]
"""Kind of principal and its calls, in order."""


def calls(*sessions: Session) -> Calls:
    """The calls of *sessions*, one from each in turn."""
    rows = [
        (at, number, PRINCIPAL_KIND[kind], operation)
        for number, (kind, made) in enumerate(sessions, start=1)
        for at, operation in enumerate(made)
    ]
    rows.sort(key=lambda row: row[0])
    names = sorted({row[3] for row in rows})
    values = operation_hashes([row[3] for row in rows])
    return Calls(
        np.array([row[1] for row in rows], np.uint64),
        np.array([row[2] for row in rows], np.uint8),
        values,
        dict(zip(operation_hashes(names).tolist(), names, strict=True)),
    )


def likely(roles: Roles, kind: int, role: int, before: str, operation: str) -> float:
    symbol = roles.symbols(operation_hashes([before, operation]))
    return float(np.exp(roles.log_p[kind, symbol[0], symbol[1], role]))


READING = ("human", ["GET /inbox", "GET /messages", "POST /messages"] * 20)
SELLING = ("human", ["GET /orders", "GET /customers"] * 20)
JOB = ("service", ["GET /events", "POST /deliveries"] * 30)
OFFICE = calls(*[READING] * 30, *[SELLING] * 20, *[JOB] * 5)


def test_people_who_call_different_things_have_different_roles_the_larger_first() -> None:
    roles = fit_roles(OFFICE, seed=7)

    operations = [set(label.removeprefix("human: ").split(", ")) for label in roles.labels[HUMAN, :3].tolist()]
    assert operations == [set(READING[1]), set(SELLING[1]), {""}]
    np.testing.assert_allclose(np.exp(roles.prior[HUMAN]), [0.6, 0.4, 0, 0, 0, 0, 0, 0])


def test_a_role_has_the_probabilities_of_transitions() -> None:
    roles = fit_roles(OFFICE, seed=7)

    assert likely(roles, HUMAN, 0, "GET /inbox", "GET /messages") > 0.9
    assert likely(roles, HUMAN, 0, "GET /inbox", "POST /messages") < 0.05
    assert likely(roles, HUMAN, 0, "GET /inbox", "GET /orders") < 0.01
    assert likely(roles, HUMAN, 1, "GET /orders", "GET /customers") > 0.9


def test_sessions_that_all_look_alike_have_one_role() -> None:
    roles = fit_roles(OFFICE, seed=7)

    assert np.isfinite(roles.prior).sum(axis=1).tolist() == [1, 2, 1, 1, 1]


def test_a_kind_that_was_never_seen_behaves_as_anybody_does() -> None:
    roles = fit_roles(OFFICE, seed=7)

    assert (roles.log_p[AGENT] == roles.log_p[0]).all()
    assert roles.labels[AGENT, 0] == roles.labels[0, 0]
    assert (roles.log_p[SERVICE] != roles.log_p[0]).any()


def test_the_same_calls_and_seed_give_the_same_bytes() -> None:
    first, again = fit_roles(OFFICE, seed=7), fit_roles(OFFICE, seed=7)

    assert {name: array.tobytes() for name, array in first.arrays.items()} == {
        name: array.tobytes() for name, array in again.arrays.items()
    }
    assert first.tag == again.tag != fit_roles(calls(READING, JOB), seed=7).tag


def test_operations_beyond_those_called_most_share_a_number() -> None:
    many = [f"GET /{number}" for number in range(300)]
    roles = fit_roles(calls(("human", [*many, *many[:255]])), seed=7)

    symbols = roles.symbols(operation_hashes(many))

    assert sorted(symbols[:255].tolist()) == list(range(1, 256))
    assert set(symbols[255:].tolist()) == {OTHER}
    assert roles.name_of(int(operation_hashes(["GET /7"])[0])) == "GET /7"
    assert roles.name_of(int(operation_hashes(["GET /299"])[0])) == ""


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS[1:]), st.lists(st.sampled_from("abcde"), min_size=1, max_size=12)),
        min_size=1,
        max_size=25,
    )
)
@settings(max_examples=30)
def test_the_probabilities_after_an_operation_add_up_to_one(sessions: list[Session]) -> None:
    roles = fit_roles(calls(*sessions), seed=7)

    total = np.exp(roles.log_p.astype(np.float64)).sum(axis=2)
    there = np.isfinite(roles.prior)

    np.testing.assert_allclose(np.moveaxis(total, 2, 1)[there], 1.0, rtol=1e-5)
    assert (roles.log_p[np.moveaxis(np.broadcast_to(~there, (*roles.log_p.shape[1:3], *there.shape)), 2, 0)] == 0).all()
    np.testing.assert_allclose(np.exp(roles.prior).sum(axis=1), 1.0)
    assert from_arrays(roles.arrays).tag == roles.tag


def test_without_calls_nothing_can_be_learned() -> None:
    with pytest.raises(ValueError, match="the recording holds none"):
        fit_roles(calls(), seed=7)


def test_of_too_many_sessions_those_with_the_lowest_keys_are_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.roles.fit.MAX_SESSIONS", 2)

    assert sorted(set(sample_calls(calls(READING, SELLING, JOB)).session.tolist())) == [1, 2]


def test_usual_values_are_the_roles_own_else_the_kinds_else_anybodys() -> None:
    values = np.repeat(np.array([10.0, 20.0, 30.0, 40.0]), 1_000)[:, None] * np.ones(len(VOLUMES))
    kind = np.repeat(np.array([HUMAN, HUMAN, HUMAN, AGENT], np.uint8), 1_000)
    role = np.repeat(np.array([0, 1, -1, 0]), 1_000)
    role[1_999] = 0

    reached = Reached(values, kind, role, np.arange(4_000, dtype=np.uint64), np.zeros(4_000, np.uint32))

    usual = with_usual(sample_roles(), reached).usual[:, :, 0, QUANTILES.index(0.5)]

    assert usual[HUMAN].tolist() == [10.0] + [20.0] * ROLES
    assert usual[AGENT].tolist() == [40.0] * (ROLES + 1)
    assert usual[SERVICE].tolist() == [25.0] * (ROLES + 1)
    assert usual[0].tolist() == [25.0] * (ROLES + 1)


Arrays = dict[str, NDArray[Any]]
SPOILT: dict[str, Callable[[Arrays], Arrays]] = {
    "it has no 'rare'": lambda arrays: {name: array for name, array in arrays.items() if name != "rare"},
    "here are .* others": lambda arrays: arrays | {"volumes": arrays["volumes"][1:]},
    "log_p is .* is due": lambda arrays: arrays | {"log_p": arrays["log_p"][:, 1:]},
    "not in order": lambda arrays: arrays | {"operations": arrays["operations"][::-1]},
}


@pytest.mark.parametrize("why", SPOILT)
def test_incomplete_arrays_are_refused_with_the_reason(why: str) -> None:
    with pytest.raises(BadRoles, match=why):
        from_arrays(SPOILT[why](sample_roles().arrays))
