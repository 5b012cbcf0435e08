"""Factors of a principal: a change, and a new device soon after it."""

from __future__ import annotations

from tests.support.principals import CAFE, HOME, notified, principal
from tests.support.run_processors import Event, read
from tests.support.samples import activity


def at_home(sessions: int) -> list[Event]:
    return [activity(at, session_id=f"home-{at}", **HOME) for at in range(sessions)]


def test_a_worker_that_takes_over_knows_the_changes_of_factors() -> None:
    player, other = principal(), principal()
    player.each(*at_home(3), activity(60, kind="recovery_started"))
    other.stage.restore(player.rows.items())
    other.stage.on_restored()

    new = activity(120, session_id="s-2", **{**HOME, "device_id": "new"})
    assert other.play(new) == player.play(new)
    assert notified(read(player.messages[-1:]), "signals", "details") == [
        (
            ["factor_reset_new_device", "new_device"],
            {
                "factor_reset_new_device": "recovery_started, first seen on this device 1 min later",
                "new_device": "first seen on this device 0 min ago",
            },
        )
    ]


def test_a_factor_change_alone_notifies_nobody() -> None:
    player = principal()
    player.play(activity(0, **HOME))

    assert player.play(activity(60, kind="credential_added", **HOME)) == []


def test_a_device_stays_new_for_its_session_whatever_else_it_shows() -> None:
    player = principal()
    player.each(*at_home(3), activity(30, kind="credential_removed"))
    phone = {**HOME, "device_id": "new", "session_id": "s-2"}

    sent = player.each(
        activity(60, **phone),
        activity(120, **{**phone, **CAFE, "device_id": "new"}, kind="client_changed"),
        activity(60 + 3601, **phone, kind="client_changed"),
        activity(60 + 86_401, **phone, kind="client_changed"),
    )

    both = ["factor_reset_new_device", "new_device"]
    assert notified(sent, "signals") == [(both,), (both,), (both[:1],), ([],)]
