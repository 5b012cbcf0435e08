"""Warnings that strangers cause do not fill the log."""

from __future__ import annotations

import logging

from pipeline.transmitter.api.server import RepeatedWarningFilter


def test_a_warning_that_is_said_again_and_again_is_logged_once_a_minute_with_how_many() -> None:
    now = [0.0]
    seldom = RepeatedWarningFilter(lambda: now[0])
    logged: list[str] = []

    def say(level: int, text: str, *about: object) -> None:
        record = logging.LogRecord("a", level, "b", 1, text, about, None)
        if seldom.filter(record):
            logged.append(record.getMessage())

    for now[0] in range(0, 100, 10):
        say(logging.WARNING, "%s is slow", f"192.0.2.{now[0]:.0f}")
        say(logging.WARNING, "100 % of another")
    say(logging.ERROR, "%s is slow", "who")

    assert logged == [
        *("192.0.2.0 is slow", "100 % of another"),
        *("192.0.2.60 is slow (5 more like this before)", "100 % of another (5 more like this before)"),
        "who is slow",
    ]
