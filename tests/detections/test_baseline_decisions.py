"""Decisions and the baseline: shown beside the observed, still being learned, or cleared by a step-up."""

from __future__ import annotations

from pipeline.detections import BIT, DETECTIONS
from schemas import topics
from tests.support.baseline_histories import NINE, TERRAFORM, doing, reading, sensitive
from tests.support.histories import BLIND, CREATE, GRANT, KEY, days, now, today, various
from tests.support.run_processors import Event, of, replayed
from tests.support.samples import auth, call


def decisions(events: list[Event]) -> list[Event]:
    return of(replayed(events), topics.SESSION_RISK, "s-1")


MASS_READ = "≤ 1000 records or 8 times the usual; of a newcomer its role's, ≤ 5000 or twice what its tenant's reach"


def test_a_reason_shows_the_usual_beside_the_observed() -> None:
    events = decisions([*days(4, do=sensitive(3)), *now(sensitive(150))])

    assert [
        (reason["observed"], reason["normal"]) for reason in events[0]["reasons"] if reason["detection"] == "mass_read"
    ] == [
        (
            "1046 records in 10 min",
            f"{MASS_READ}; here usually ≤ 31",
        )
    ]


def test_a_rare_hour_alone_is_never_more_than_low() -> None:
    events = decisions([*days(14), *today(hour=3)])

    assert {(event["level"], event["action"]) for event in events} == {("LOW", "allow")}


def test_a_step_up_clears_an_unfamiliar_scope() -> None:
    events = [*days(8, do=reading("read")), *now(reading("admin"))]
    passed = auth(NINE + 90, action="step_up_passed")

    decided = decisions([*events, passed, call(NINE + 400)])

    assert (decided[0]["level"], decided[0]["action"]) == ("MEDIUM", "step_up")
    assert (decided[-1]["level"], decided[-1]["action"]) == ("LOW", "allow")


def test_a_decision_names_the_detections_that_are_still_learning() -> None:
    young = decisions([*days(4), *now(various(30, status=403))])
    old = decisions([*days(14), *now(various(30, status=403))])

    assert (young[0]["learning"], old[0].get("learning")) == (["rare_hour", "unfamiliar_scope"], None)


def test_an_unfamiliar_scope_shows_what_it_was_compared_with() -> None:
    events = decisions([*days(8, do=reading("read")), *now(reading("admin"))])

    (reason,) = [item for item in events[0]["reasons"] if item["detection"] == "unfamiliar_scope"]
    assert (reason["observed"], reason["normal"]) == (
        "8 days of its own history to compare with",
        DETECTIONS[BIT["unfamiliar_scope"]].normal.format(days=7),
    )


def test_a_key_whose_one_session_lasts_for_weeks_stops_learning_after_days() -> None:
    def learning(number: int) -> list[str]:
        used = [call(-3600 * hour, **KEY) for hour in range(24 * number, 0, -1)]
        lines: list[str] = decisions([*used, *various(40, status=403)(0, KEY)])[-1].get("learning", [])
        return lines

    assert learning(1) == [
        "api_key_off_place",
        "rare_hour",
        "concurrent_sessions",
        "unfamiliar_scope",
        "access_probing",
        "machine_probing",
    ]
    assert learning(14) == []


def test_a_service_that_creates_keys_every_day_stays_at_medium_and_is_asked_about() -> None:
    events = decisions([*days(4, do=doing(CREATE, GRANT), **TERRAFORM), *now(doing(CREATE, GRANT, BLIND), **TERRAFORM)])

    assert {(event["level"], event["action"]) for event in events} == {("MEDIUM", "hold_for_approval")}
