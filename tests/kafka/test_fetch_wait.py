"""A worker with time to spare fetches often; one with none lets brokers collect five times as long."""

from __future__ import annotations

import pytest

from pipeline.kafka.consumer_thread import AdaptiveFetchWait, fetch_wait_multiplier


@pytest.mark.parametrize(
    ("share", "times"),
    [(0.0, 1.0), (0.75, 1.0), (0.8, 1.8), (0.875, 3.0), (1.0, 5.0), (1.4, 5.0)],
)
def test_the_less_time_is_left_the_longer_is_collected(share: float, times: float) -> None:
    assert fetch_wait_multiplier(share) == pytest.approx(times)


def test_how_busy_a_process_is_is_looked_at_again_after_a_quarter_of_a_second() -> None:
    clock = iter([10.0, 10.2, 10.25, 10.4, 11.25])
    used = iter([3.0, 3.25, 3.5])
    pace = AdaptiveFetchWait(lambda: next(clock), lambda: next(used))

    assert [pace.multiplier() for _ in range(4)] == [1.0, 5.0, 5.0, 1.0]
