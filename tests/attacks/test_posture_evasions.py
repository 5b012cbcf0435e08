"""A device that says less or says it otherwise: what that hides, and what still shows."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.contexts.device.processor import device_context
from schemas import topics
from tests.support.run_processors import Event, Player, of
from tests.support.samples import binding, telemetry

GOOD: dict[str, Any] = {
    "platform": "ios",
    "os_version": "17.1",
    "attestation": "strong",
    "screen_lock": True,
    "rooted": False,
}


def last(*reports: dict[str, Any]) -> Event:
    """What the session on the phone is told last, after a good report and then *reports*, a minute apart."""
    player = Player(device_context())
    player.play(binding(-1))
    events = [telemetry(60 * number, **members) for number, members in enumerate([GOOD, *reports])]
    return of(player.each(*events), topics.SESSION_CONTEXT)[-1]


@pytest.mark.parametrize(
    ("reports", "signal"),
    [
        ([{"attestation": "unevaluated"}, {"attestation": "failed"}], "attestation_downgraded"),
        ([{"attestation": None}, {"attestation": "failed"}], "attestation_downgraded"),
        ([{"screen_lock": None}, {"screen_lock": False}], "posture_downgraded"),
        ([{"platform": "other", "screen_lock": False}], "posture_downgraded"),
        ([{"platform": "other", "attestation": "failed"}], "attestation_downgraded"),
        ([{"os_version": "17"}, {"os_version": "16"}], "os_downgraded"),
    ],
)
def test_what_is_left_unsaid_for_a_while_is_compared_with_what_was_said_before(
    reports: list[dict[str, Any]], signal: str
) -> None:
    assert signal in last(*reports)["signals"]


@pytest.mark.parametrize("unsaid", [{"rooted": None}, {"platform": "other", "rooted": None}, {"attestation": None}])
def test_a_fact_that_is_left_out_afterwards_stays_as_bad_as_it_was(unsaid: dict[str, Any]) -> None:
    told = last({"rooted": True, "attestation": "failed"}, {"screen_lock": True, "os_version": "17.2", **unsaid})

    assert (told["rooted"], told["attestation"]) == (True, "failed")
