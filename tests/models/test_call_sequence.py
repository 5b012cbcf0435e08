"""Which role a session plays, how surprising its calls are, and what is left of it when the model changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.events.columns import PRINCIPAL_KIND, Columns
from models.features.table import FEATURE_NAMES
from models.roles.cohorts import QUANTILES
from models.roles.fit import fit_roles
from models.roles.roles import VOLUMES, Roles
from models.state.segments import segments
from models.state.table import ROLES, SessionTable
from models.updates.arrivals import locate
from models.updates.call_sequence import SEQUENCE, UNCLEAR, USUAL_NAMES
from models.updates.fold import Folded, fold
from tests.models.test_roles import OFFICE
from tests.support.role_samples import sample_roles
from tests.support.samples import call, context

HUMAN = PRINCIPAL_KIND["human"]
READING = ["GET /inbox", "GET /messages", "POST /messages"]
SELLING = ["GET /orders", "GET /customers"]


def _with_levels(roles: Roles) -> Roles:
    """*roles* with usual values that tell where they were taken from: role 0 has 0, ..., the kind has 8."""
    usual = np.zeros((5, ROLES + 1, len(VOLUMES), len(QUANTILES))) + np.arange(ROLES + 1)[:, None, None]
    return Roles(roles.operations, roles.log_p, roles.prior, roles.rare, usual, roles.labels)


LEARNED = _with_levels(fit_roles(OFFICE, seed=7))


def after(table: SessionTable, roles: Roles | None, *events: dict[str, Any]) -> Folded:
    """The fold of *events*, all of one type, into *table*."""
    make = Columns(bytes(16)).calls if events[0]["type"] == "api.call" else Columns(bytes(16)).contexts
    batch = make(list(events))
    return fold(table, segments(locate(table, batch)), batch, roles)


def made(operations: list[str], since: int = 0) -> list[dict[str, Any]]:
    """Calls of a person, a second apart."""
    return [call(at, operation=name) for at, name in enumerate(operations, since)]


def features(folded: Folded) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, folded.values[:, -1].tolist(), strict=True))


def test_a_session_has_no_role_until_its_calls_show_one() -> None:
    facts = after(SessionTable(), LEARNED, *made(READING)).facts

    assert facts["role"].tolist() == [UNCLEAR, 0, 0]
    assert facts["role_usual_calls_10m"].tolist() == [8.0, 0.0, 0.0]


def test_a_context_finds_the_role_that_the_calls_before_it_showed() -> None:
    table = SessionTable()
    after(table, LEARNED, *[call(at, operation=SELLING[0]) for at in range(3)])

    assert after(table, LEARNED, context(4)).facts["role"].tolist() == [1]


def test_calls_of_another_role_are_surprising_and_those_of_ones_own_are_not() -> None:
    table = SessionTable()
    own = after(
        table,
        LEARNED,
        *made(READING * 10),
    )
    other = after(
        table,
        LEARNED,
        *made(SELLING * 2, 40),
    )

    assert features(own)["surprise_10m"] < 2
    assert features(own)["rare_transitions_10m"] == 0
    assert features(other)["surprise_10m"] > 10
    assert features(other)["rare_transitions_10m"] > 1


def test_a_session_that_goes_on_in_another_role_has_that_role_in_the_end() -> None:
    table = SessionTable()
    after(
        table,
        LEARNED,
        *made(READING * 10),
    )

    selling = after(
        table,
        LEARNED,
        *made(SELLING * 60, 40),
    )

    assert selling.facts["role"][0] == 0
    assert selling.facts["role"][-1] == 1


def test_without_roles_no_call_is_surprising_and_nothing_is_above_the_usual() -> None:
    folded = after(SessionTable(), None, call(0), call(1, operation="GET /nobody/knows"))

    assert [features(folded)[name] for name in SEQUENCE] == [0.0, 0.0, 0.0]
    assert folded.facts["role"].tolist() == [UNCLEAR, UNCLEAR]
    assert {value for name in USUAL_NAMES for value in folded.facts[name].tolist()} == {np.inf}


@pytest.mark.parametrize("first", [sample_roles(1), None], ids=["other roles", "no roles"])
def test_a_new_model_begins_anew_but_knows_the_last_call(first: Roles | None) -> None:
    swapped, fresh = SessionTable(), SessionTable()
    after(swapped, first, *[call(at) for at in range(20)])
    after(fresh, None, *[call(at) for at in range(20)])

    events = [call(21, operation="GET /z"), call(22, operation="iam:CreateAccessKey")]
    folded, other = after(swapped, LEARNED, *events), after(fresh, LEARNED, *events)

    for name in ("role", "surprise", "rare", "previous_operation"):
        assert folded.facts[name].tolist() == other.facts[name].tolist()
    assert swapped.rows["role_scores"][0].tolist() == fresh.rows["role_scores"][0].tolist()
    assert swapped.rows["roles_tag"][0] == LEARNED.tag


def test_what_is_usual_is_told_for_every_volume() -> None:
    usual = np.zeros((5, ROLES + 1, len(VOLUMES), len(QUANTILES)))
    usual[HUMAN, ROLES, :, 1] = np.arange(len(VOLUMES))
    roles = Roles(LEARNED.operations, LEARNED.log_p, LEARNED.prior, LEARNED.rare, usual, LEARNED.labels)

    facts = after(SessionTable(), roles, call(0)).facts

    assert [facts[f"role_usual_{name}"].tolist() for name in VOLUMES] == [[float(at)] for at in range(len(VOLUMES))]
    assert set(VOLUMES) <= set(FEATURE_NAMES)
