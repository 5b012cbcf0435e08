"""A person who reads the summary sees which fault did what."""

from __future__ import annotations

from tests.faults.outcome import Run, Wrong
from tests.faults.summary import COLUMNS, Received, table

RECEIVED = [
    Received("nothing happens", 1, Run(Wrong(), 5_562, 0, 1.72)),
    Received("a worker is killed", 2, Run(Wrong(levels=3, missing=12, miscounted=1_048), 5_562, 17, 12.04, 1)),
    Received("the broker is killed", 2, None),
]


def test_each_run_has_a_row_and_the_good_ones_are_counted() -> None:
    lines = table(RECEIVED)

    numbers = {line.split()[-1]: line.split()[: len(COLUMNS)] for line in lines[:4]}
    assert numbers == {
        "fault": [*COLUMNS],
        "happens": ["1", "5,562", "0", "0", "0", "0", "0", "0", "0", "0", "1.7"],
        "killed": ["2", "5,562", "3", "12", "0", "1,048", "0", "0", "17", "1", "12.0"],
        "end)": ["2", *["–"] * 10],
    }
    assert [line[lines[0].index("fault") :] for line in lines[1:4]] == [
        "nothing happens",
        "a worker is killed",
        "the broker is killed (came to no end)",
    ]
    assert [line.partition(":")[0] for line in lines[5:-2]] == [name for name in COLUMNS if name != "seed"]
    assert lines[-1] == "1 of 3 runs lost nothing and doubled nothing"


def test_a_run_is_told_in_a_line_as_it_ends() -> None:
    counts = "levels 3, missing 12, surplus 0, miscounted 1048, unread 0, unburied 0"
    number = "17 records repeated, recovered in 12.0 s, 1 restarts"
    assert [item.line() for item in RECEIVED[1:]] == [
        f"a worker is killed, seed 2: 5,562 events in; {counts}; {number}",
        "the broker is killed, seed 2: came to no end",
    ]
