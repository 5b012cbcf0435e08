"""Orders about models: which one decides, in which mode, and which are challengers; an unusable one changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.control.succession import ANY_MODEL
from pipeline.processing.processor import InMemoryRecord
from schemas.topics import MODEL_CONTROL
from tests.support.active_config import Desk
from tests.support.role_samples import sample_roles


def test_nothing_ordered_leaves_what_is_configured() -> None:
    assert Desk().stands == ("default", "enforce", [])


def test_the_model_promoted_last_decides_and_promoting_the_old_one_goes_back() -> None:
    desk = Desk()
    seen = []
    for name in ("new", "newer", "new"):
        desk.order("promote", name)
        seen.append(desk.stands[0])

    assert seen == ["new", "newer", "new"]


def test_a_retired_champion_gives_way_to_the_one_promoted_before() -> None:
    desk = Desk()
    desk.order("promote", "new")
    desk.order("promote", "newer")

    desk.order("retire", "newer")
    assert desk.stands[0] == "new"
    desk.order("retire", "new")
    assert desk.stands[0] == "default"
    desk.order("retire", "default")
    assert desk.stands[0] == "none"
    assert desk.in_force.champion is None


def test_a_challenger_is_loaded_and_does_not_decide() -> None:
    desk = Desk()
    desk.order("shadow", "new")
    assert desk.stands == ("default", "enforce", ["new"])

    desk.order("promote", "new")
    assert desk.stands == ("new", "enforce", [])


def test_a_model_that_cannot_be_loaded_is_reported_and_the_champion_stays() -> None:
    desk = Desk(broken=frozenset({"bad"}))
    desk.order("promote", "good")

    desk.order("promote", "bad")

    assert desk.stands == ("good", "enforce", [])
    assert desk.complaints == ["model bad cannot be used: bad is broken"]


def test_the_mode_is_set_for_whichever_model_decides_and_given_back() -> None:
    desk = Desk()
    seen = []
    for mode in ("observe", "enforce", "observe", None):
        desk.order("mode", ANY_MODEL, mode)
        seen.append(desk.stands[:2])

    assert seen == [
        ("default", "observe"),
        ("default", "enforce"),
        ("default", "observe"),
        ("default", "enforce"),
    ]


def test_a_model_that_is_given_a_mode_decides_in_it() -> None:
    desk = Desk()
    desk.order("mode", "new", "observe")

    assert desk.stands == ("new", "observe", [])


def test_a_record_that_is_no_order_is_reported_and_changes_nothing() -> None:
    desk = Desk()
    desk.in_force.on_control_record(InMemoryRecord(MODEL_CONTROL, 0, 3, 1, b"new", b'{"command": "crown"}'))

    assert desk.stands == ("default", "enforce", [])
    (complaint,) = desk.complaints
    assert complaint.startswith("model-control, offset 3: no order: ")


def test_challengers_score_from_the_next_chunk_on_until_they_are_retired() -> None:
    desk = Desk()
    seen = []
    for command in ("shadow", "retire"):
        desk.order(command, "new")
        seen.append([model.id for model in desk.in_force.active.challengers])

    assert seen == [["new@0"], []]


def test_a_refused_model_is_listed_until_it_is_retired() -> None:
    desk = Desk(broken=frozenset({"bad", "worse"}))
    seen = []
    for order in (("promote", "bad"), ("shadow", "worse"), ("retire", "bad"), ("retire", "worse")):
        desk.order(*order)
        seen.append(sorted(desk.in_force.refused))

    assert seen == [["bad"], ["bad", "worse"], ["worse"], []]


_ORDERS = st.lists(
    st.tuples(
        st.sampled_from(("promote", "shadow", "retire", "mode")),
        st.sampled_from(("default", "a", "b", "broken", ANY_MODEL)),
        st.sampled_from((None, "enforce", "observe")),
    ),
    max_size=8,
)


@given(_ORDERS)
def test_orders_have_the_same_result_after_compaction(orders: list[tuple[str, str, str | None]]) -> None:
    lived, restarted = (Desk(broken=frozenset({"broken"})) for _ in range(2))
    for order in orders:
        lived.order(*order)
    newest = {model: place for place, (_, model, _) in enumerate(orders)}
    for order in (orders[place] for place in sorted(newest.values())):
        restarted.order(*order)

    assert lived.stands == restarted.stands


def test_roles_come_and_go_with_their_model() -> None:
    desk = Desk()
    seen = [desk.in_force.active.roles]

    for command, model in (("promote", "new"), ("retire", "new"), ("retire", "default")):
        desk.order(command, model)
        seen.append(desk.in_force.active.roles)

    default, new = sample_roles(len("default")).tag, sample_roles(len("new")).tag
    assert [roles and roles.tag for roles in seen] == [default, new, default, None]
