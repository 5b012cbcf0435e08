"""Fingerprints are the same in every process, differ for different strings, and are 0 only for an absent one."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.events.string_cache import StringCache
from models.events.text_hashing import Fingerprints, fingerprint, hash_ids, shortened

TEXTS = st.text(max_size=100) | st.text("ab0-", min_size=60, max_size=80)
KEY = bytes(range(16))
IDS = st.lists(st.none() | TEXTS, min_size=1, max_size=20)


def test_a_fingerprint_is_stored_so_it_never_changes() -> None:
    assert [fingerprint(text) for text in ("", "s-1", "é")] == [
        0xB4B2797457A0A6E4,
        0x0DDED4C959102303,
        0x2F19F3EF8BBF1ACB,
    ]
    assert hash_ids(["", "s-1", "é", None]).tolist() == [
        0x1,
        0xE8B1181AF8C40B1C,
        0x2F19F3EF8BBF1ACB,
        0,
    ]


def test_another_process_gives_the_same_fingerprints() -> None:
    number = "from models.events.text_hashing import *; print(fingerprint('s-1'), hash_ids(['s-1', 'ü']).tolist())"

    text = subprocess.run([sys.executable, "-c", number], capture_output=True, text=True, check=True).stdout

    assert text == f"{fingerprint('s-1')} {hash_ids(['s-1', 'ü']).tolist()}\n"


@given(IDS)
@example(["x" * 72, "x" * 73, "x" * 71])
@example(["ü" * 36, "ü" * 37, None, ""])
def test_the_hash_of_a_string_does_not_depend_on_its_neighbours(ids: list[str | None]) -> None:
    assert hash_ids(ids).tolist() == [int(hash_ids([name])[0]) for name in ids]


@given(st.sets(TEXTS, min_size=1, max_size=50))
@example({"", "\0", "0", "0\0", "00", "a" * 8, "a" * 16, "a" * 72})
@example({f"id-{number}" for number in range(2000)})
def test_different_strings_have_different_hashes(texts: set[str]) -> None:
    assert len(set(hash_ids(sorted(texts)).tolist())) == len(texts)
    assert len({fingerprint(text) for text in texts}) == len(texts)


@given(IDS)
def test_only_what_is_missing_is_zero(ids: list[str | None]) -> None:
    assert [number == 0 for number in hash_ids(ids).tolist()] == [name is None for name in ids]
    assert all(fingerprint(name) != 0 for name in ids if name is not None)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
@example([0, 1, 2**32, 2**33])
def test_a_short_fingerprint_is_zero_only_where_there_is_none(numbers: list[int]) -> None:
    small = shortened(np.array(numbers, np.uint64)).tolist()

    assert [number == 0 for number in small] == [number == 0 for number in numbers]


def test_a_full_cache_of_fingerprints_is_emptied_and_gives_the_same_values() -> None:
    cache = Fingerprints(limit=3)
    words = ["a", "b", None, "c", "d", "a", "b", None]

    values = [cache[word] for word in words]

    assert values == [0 if word is None else fingerprint(word) for word in words]
    assert len(cache) <= 3


def test_values_are_the_same_whether_cached_or_not() -> None:
    asked: list[str] = []

    def make(questions: list[tuple[str]]) -> NDArray[np.bytes_]:
        asked.extend(word for (word,) in questions)
        return np.array([word.encode() * 2 for (word,) in questions], "S2")

    cache = StringCache(make, np.dtype("S2"), limit=2, key=KEY)
    values = [cache.lookup([(word,) for word in words]).tobytes() for words in ("abca", "a", "cb")]

    assert values == [b"aabbccaa", b"aa", b"ccbb"]
    assert len(asked) < 9


def test_unused_entries_are_removed_and_used_ones_stay() -> None:
    made: Counter[str] = Counter()

    def make(questions: list[tuple[str]]) -> NDArray[np.bytes_]:
        made.update(word for (word,) in questions)
        return np.array([word.encode() for (word,) in questions], "S8")

    cache = StringCache(make, np.dtype("S8"), limit=1_000_000, key=KEY)
    live = [f"live-{number}" for number in range(100)]
    held = []
    for chunk in range(150):
        words = live + [f"{chunk}-{number}" for number in range(1_000)]
        assert cache.lookup([(word,) for word in words * 12]).tolist() == [word.encode() for word in words * 12]
        held.append(len(cache))

    assert max(held) < 140_000
    assert {made[word] for word in live} == {1}


def test_a_cache_whose_entries_are_all_in_use_fills_up_to_its_limit() -> None:
    words = [(f"{number}",) for number in range(150_000)]
    cache = StringCache(lambda some: np.array([item for (item,) in some], "S8"), np.dtype("S8"), limit=200_000, key=KEY)

    for _ in range(3):
        for begin in range(0, len(words), 1_000):
            asked = words[begin : begin + 1_000]
            assert cache.lookup(asked).tolist() == [name.encode() for (name,) in asked]

    assert len(cache) == 150_000


def test_hashes_are_spread_evenly_so_that_a_share_of_ids_is_a_share() -> None:
    hashes = hash_ids([f"event-{number:07d}" for number in range(20_000)])

    chosen = int((hashes < np.uint64(2**64 // 100)).sum())

    assert 140 < chosen < 260
