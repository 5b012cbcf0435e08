"""Parents and children: a fall reaches every descendant, once, and nobody else."""

from __future__ import annotations

import pytest

from pipeline.decisions.risk_state import MAX_CHILDREN
from schemas import topics
from tests.support.run_processors import Desk, Event, SentMessage, of, replayed
from tests.support.samples import auth, call, context, feedback


def born(child: str, parent: str, at: float) -> Event:
    return auth(at, session_id=child, parent_session_id=parent, action="token_exchanged", principal_id=child)


def falls(session_id: str, at: float) -> Event:
    return feedback(at, session_id=session_id, verdict="confirmed_compromised")


def fell(output: list[SentMessage]) -> dict[str, str]:
    """The root of every revoked session, by its id."""
    return {event["session_id"]: event["root_session_id"] for event in of(output, topics.SESSION_REVOCATIONS)}


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_fall_reaches_descendants_to_any_depth(partitions: int) -> None:
    events = [auth(0, session_id="n-0"), *(born(f"n-{at}", f"n-{at - 1}", at) for at in range(1, 51))]

    outputs = replayed([*events, falls("n-0", 60), call(90)], partitions=partitions)

    assert fell(outputs) == {f"n-{at}": "n-0" for at in range(51)}


def test_a_fall_in_the_middle_spares_the_ancestors() -> None:
    events = [auth(0, session_id="n-0"), *(born(f"n-{at}", f"n-{at - 1}", at) for at in range(1, 5))]

    assert fell(replayed([*events, falls("n-2", 60)])) == {"n-2": "n-2", "n-3": "n-2", "n-4": "n-2"}


def test_a_child_born_after_the_fall_falls_too() -> None:
    outputs = replayed([auth(0, session_id="n-0"), falls("n-0", 10), born("n-1", "n-0", 20), born("n-2", "n-1", 30)])

    assert fell(outputs) == {"n-0": "n-0", "n-1": "n-0", "n-2": "n-0"}


def test_a_child_heard_of_before_its_parent_falls_with_it() -> None:
    outputs = replayed([born("n-1", "n-0", 0), auth(5, session_id="n-0"), falls("n-0", 10)])

    assert fell(outputs) == {"n-0": "n-0", "n-1": "n-0"}


def test_a_parent_whose_sign_in_is_read_after_news_of_its_child_falls_by_the_same_command() -> None:
    signs_in, fallen = auth(0, session_id="n-0"), falls("n-0", 10)

    item, other = (
        [command["revocation_id"] for command in of(replayed(events), topics.SESSION_REVOCATIONS)]
        for events in ([signs_in, born("n-1", "n-0", 5), fallen], [born("n-1", "n-0", -5), signs_in, fallen])
    )

    assert sorted(item) == sorted(other)


def test_the_first_parent_named_is_the_parent() -> None:
    events = [auth(0, session_id="a"), auth(0, session_id="b"), born("c", "a", 1), born("c", "b", 2)]

    assert fell(replayed([*events, falls("b", 10)])) == {"b": "b"}
    assert fell(replayed([*events, falls("a", 10)])) == {"a": "a", "c": "a"}


def test_sessions_that_are_each_others_parents_fall_once_and_it_ends() -> None:
    events = [born("a", "b", 0), born("b", "c", 1), born("c", "a", 2), born("d", "d", 3)]

    outputs = replayed([*events, falls("a", 10), falls("d", 11)])

    assert fell(outputs) == {"a": "a", "b": "a", "c": "a", "d": "d"}
    assert len(of(outputs, topics.SESSION_REVOCATIONS)) == 4


def test_a_fall_passes_through_a_session_that_has_signed_out() -> None:
    events = [auth(0, session_id="a"), born("b", "a", 1), born("c", "b", 2)]

    outputs = replayed([*events, auth(5, session_id="b", action="sign_out"), falls("a", 10)])

    assert fell(outputs) == {"a": "a", "c": "a"}


def test_a_fall_ends_also_among_sessions_that_have_signed_out_and_are_each_others_parents() -> None:
    events = [born("a", "b", 0), born("b", "a", 1)]
    away = [auth(at, session_id=name, action="sign_out") for at, name in ((3, "a"), (4, "b"))]
    word = context(10, session_id="a", source="lineage", relation="ancestor_revoked", root_session_id="r")

    outputs = replayed([*events, *away, word])

    assert fell(outputs) == {}
    assert len(of(outputs, topics.SESSION_CONTEXT)) < 10


def test_a_fall_passes_through_a_session_that_was_forgotten() -> None:
    events = [auth(0, session_id="a"), born("b", "a", 1), born("c", "b", 2)]
    away = auth(5, session_id="b", action="sign_out")
    on = [call(at, session_id=name, principal_id=name) for at in range(10, 1000, 10) for name in ("a", "c")]

    assert fell(replayed([*events, away, *on, falls("a", 1000)]))["c"] == "a"


def test_another_tenants_session_of_the_same_name_does_not_fall() -> None:
    stranger = auth(1, session_id="n-1", tenant="zeta")

    assert fell(replayed([auth(0, session_id="n-0"), stranger, born("n-2", "n-0", 2), falls("n-0", 5)])) == {
        "n-0": "n-0",
        "n-2": "n-0",
    }


def test_a_parent_of_more_children_than_it_can_remember_says_so() -> None:
    desk = Desk()
    desk.play(auth(0))
    for start in range(0, MAX_CHILDREN + 500, 500):
        desk.play(
            *(
                context(1, source="lineage", relation="child", child_session_id=f"c-{at:0100d}")
                for at in range(start, start + 500)
            )
        )

    assert desk.counts[("forgotten_children",)] == 500
    assert max(map(len, desk.rows.values())) < 1_000_000
