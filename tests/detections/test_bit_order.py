"""The order of the detections: rows written under another order are read without their mask."""

from __future__ import annotations

import pytest

from models.state.codec import encode
from pipeline.detections import DETECTION_IDS, ORDER, digest_of_order
from schemas import topics
from tests.support.run_processors import Desk, Event
from tests.support.samples import T0, call, context
from tests.support.stored_rows import decode

OTHER = digest_of_order(DETECTION_IDS[::-1])


def report(at: float, **members: object) -> Event:
    """A report of the device."""
    return context(at, device_id="phone-1", heard_at=T0 + round(at * 1000), **members)


def rewritten(one: Desk, order: bytes, mask: int) -> Desk:
    """Another worker takes over rows that were written under *order*."""
    for key, value in one.rows.items():
        row, names, side, _ = decode(value)
        row["mask"] = mask
        ((_, one.rows[key]),) = encode(row, [names], [side], order)
    return one.restarted()


def suspected() -> Desk:
    """A session whose device failed its attestation, in observe mode."""
    desk = Desk('mode = "observe"\n[times]\nrepeat_s = 60')
    desk.each(call(0, device_id="phone-1"), report(1, attestation="failed"))
    return desk


def reasons(one: Desk) -> list[list[str]]:
    return [[part["detection"] for part in risk["reasons"]] for risk in one.output(topics.SESSION_RISK)]


def test_any_other_order_has_another_digest() -> None:
    assert digest_of_order(DETECTION_IDS) == ORDER
    swapped = (DETECTION_IDS[1], DETECTION_IDS[0], *DETECTION_IDS[2:])
    assert (
        len(
            {
                ORDER,
                digest_of_order(swapped),
                digest_of_order(DETECTION_IDS[:-1]),
                digest_of_order((*DETECTION_IDS, "new")),
            }
        )
        == 4
    )


def test_rows_store_the_digest_of_the_order_they_were_written_in() -> None:
    assert [decode(value)[3] for value in suspected().rows.values()] == [ORDER]


@pytest.mark.parametrize("mask", [0, 2**40 - 1, 1 << 63], ids=["none", "many", "one nobody has"])
def test_a_detection_that_no_longer_holds_ends_at_the_next_event_whatever_the_old_bits(mask: int) -> None:
    other = rewritten(suspected(), OTHER, mask)

    other.each(report(61, attestation="strong"), call(62, device_id="phone-1"))

    assert reasons(other) == [[]]
    assert [event["level"] for event in other.output(topics.SESSION_RISK)] == ["LOW"]


@pytest.mark.parametrize("mask", [0, 2**40 - 1], ids=["none", "many"])
def test_a_detection_that_still_holds_goes_on_and_no_other_is_found(mask: int) -> None:
    other = rewritten(suspected(), OTHER, mask)

    other.each(call(61, device_id="phone-1"))

    assert reasons(other) == [["attestation_failed"]]


def test_a_session_without_events_is_decided_by_the_next_timer() -> None:
    other = rewritten(suspected(), OTHER, 2**40 - 1)

    other.each(call(70, session_id="s-2"), call(90, session_id="s-2"))

    assert reasons(other) == [["attestation_failed"]]


def test_rows_of_this_order_are_read_with_their_bits() -> None:
    desk = suspected()
    (mask,) = (int(decode(value)[0]["mask"][0, 0]) for value in desk.rows.values())

    other = rewritten(desk, ORDER, mask)
    other.each(call(3, device_id="phone-1"))

    assert reasons(other) == []
