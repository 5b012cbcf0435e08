"""The order of writes keeps its promises in every interleaving; every other order is found to break one."""

from __future__ import annotations

import pytest

from tests.support.interleavings import CameFrom, reachable, search
from tests.support.write_order import COMMANDS, END, START, Protocol

LATE = Protocol(late_rows=True, merges=False)

# --- The order of the lanes


@pytest.mark.parametrize(
    "protocol",
    [Protocol(), Protocol(takeovers=3, merges=False)],
    ids=["chunks go together", "the partition comes back"],
)
def test_whenever_a_worker_falls_or_loses_the_partition_nothing_is_lost_and_nothing_undone(
    protocol: Protocol,
) -> None:
    found = search(protocol)

    assert found.trace == (), f"\n{found}"
    assert found.states > 20_000


def test_the_search_also_comes_to_where_everything_is_done() -> None:
    came_from: CameFrom = {START: None}

    ends = {state.commands for state in reachable(Protocol(takeovers=1), came_from) if state.committed == END}

    assert ends == {COMMANDS}
    assert sorted(COMMANDS) == ["a1", "a12", "b2", "b23"]


# --- Other orders

WRONG = {
    "rows before commands": (
        Protocol(commands_first=False),
        """
        old takes over, reads a=– b=–, goes on at chunk 1
        old works on chunk 1
        old hands over row a=1
        row a=1 of old reaches the changelog
        command a1 is lost
        """,
    ),
    "offsets before rows": (
        Protocol(rows_before_offsets=False),
        """
        old takes over, reads a=– b=–, goes on at chunk 1
        old works on chunk 1
        old commands a1
        old commits up to chunk 1
        who recovers now ends with a=2 b=23, not a=12 b=23
        """,
    ),
    "no fence": (
        Protocol(fenced=False, merges=False),
        """
        old takes over, reads a=– b=–, goes on at chunk 1
        old works on chunk 1
        old commands a1
        new takes over, reads a=– b=–, goes on at chunk 1
        old hands over row a=1
        new works on chunk 1
        new works on chunk 2
        new commands a1
        new hands over row a=1
        new commands a12
        new commands b2
        row a=1 of new reaches the changelog
        new hands over row a=12
        new hands over row b=2
        row a=12 of new reaches the changelog
        row a=1 of old reaches the changelog
        row b=2 of new reaches the changelog
        new commits up to chunk 2
        who recovers now ends with a=1 b=23, not a=12 b=23
        """,
    ),
    "rows of the chunk worked on ahead do not wait for those before": (
        Protocol(rows_in_order=False),
        """
        old takes over, reads a=– b=–, goes on at chunk 1
        old works on chunks 1 to 2
        old works on chunk 3
        old commands b23
        old hands over row b=23
        row b=23 of old reaches the changelog
        command b2 is lost
        """,
    ),
    "what was applied is applied again": (
        Protocol(skips_applied=False),
        """
        old takes over, reads a=– b=–, goes on at chunk 1
        old works on chunk 1
        old commands a1
        old hands over row a=1
        row a=1 of old reaches the changelog
        who recovers now ends with a=112 b=23, not a=12 b=23
        """,
    ),
    "the changelog is not read back": (
        Protocol(restores=False),
        """
        old takes over, reads a=– b=–, goes on at chunk 1
        old works on chunk 1
        old commands a1
        old hands over row a=1
        row a=1 of old reaches the changelog
        old commits up to chunk 1
        who recovers now ends with a=2 b=23, not a=12 b=23
        """,
    ),
    "a stage is kept though somebody else wrote": (
        Protocol(looks_before_keeping=False, takeovers=3, merges=False),
        """
        old takes over, reads a=– b=–, goes on at chunk 1
        new takes over, reads a=– b=–, goes on at chunk 1
        new works on chunk 1
        new commands a1
        new hands over row a=1
        row a=1 of new reaches the changelog
        new commits up to chunk 1
        old takes over, keeps a=– b=–, goes on at chunk 2
        old works on chunk 2
        old commands a2
        a run without a fault never commands a2
        """,
    ),
}


@pytest.mark.parametrize("order", WRONG)
def test_another_order_is_found_and_the_shortest_way_to_its_fault_is_told(order: str) -> None:
    protocol, trace = WRONG[order]

    found = search(protocol)

    print(f"{order}:\n{found}")
    assert found.trace == _lines(trace)


# --- What the lease does not reach: a row confirmed in time that arrives late


def test_a_row_that_arrives_after_its_lease_can_undo_what_the_new_owner_wrote() -> None:
    """Nothing bounds how late: the lease is asked before a batch is handed to the producer.

    An idempotent one sends it anew until a broker answers. How much can be undone is bounded: see below.
    """
    found = search(LATE)

    print(found)
    assert found.trace == _lines(
        """
        old takes over, reads a=– b=–, goes on at chunk 1
        old works on chunk 1
        old commands a1
        old hands over row a=1
        new takes over, reads a=– b=–, goes on at chunk 1
        new works on chunk 1
        new works on chunk 2
        new commands a1
        new hands over row a=1
        new commands a12
        new commands b2
        row a=1 of new reaches the changelog
        new hands over row a=12
        new hands over row b=2
        row a=12 of new reaches the changelog
        row a=1 of old reaches the changelog
        row b=2 of new reaches the changelog
        new commits up to chunk 2
        who recovers now ends with a=1 b=23, not a=12 b=23
        """
    )


def test_only_rows_of_one_piece_of_work_can_arrive_late_and_the_owner_goes_on_rightly() -> None:
    """The owner's memory and its commands stay right; wrong is what the next one would read back."""
    came_from: CameFrom = {START: None}
    late_pieces, strange = set[int](), set[str]()

    for state in reachable(LATE, came_from):
        strange |= state.commands - COMMANDS
        for worker in state.workers:
            late_pieces.add(0 if worker is None else len({row.chunk for row in worker.flight}))

    assert (late_pieces, strange) == ({0, 1}, set())


def test_rows_that_name_their_ownership_would_close_that() -> None:
    found = search(Protocol(late_rows=True, generations=True, merges=False))

    assert found.trace == (), f"\n{found}"


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())
