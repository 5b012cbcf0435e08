"""What strings become is worked out once and remembered as packed records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.events.text_hashing import Spans, siphash_key, siphash_rows, spans_of
from models.hash_index import RowIndex

Structs = NDArray[Any]
_SMALLEST = 256
_ENOUGH = 65_536
"""Answers below which forgetting is not worth the work."""
_LONG = 4
"""Questions for each answer held after which one that was never asked for is likely of no use any more."""


class StringCache:
    """Answers of type *answer*, as *make* works them out for a list of questions, found by a keyed hash.

    A question is a row of texts. Nobody can choose two that meet (see `models.events.text_hashing.siphash_rows`), so
    questions are
    not kept: comparing would cost a cache miss for every text. Instead of holding ever more, it forgets the
    answers that nobody asked for in a long while: what sessions that are over had asked does not stay. When
    *limit* answers are of use it starts afresh; those of one chunk come on top. Neither changes an answer.
    """

    def __init__(
        self, make: Callable[[list[tuple[Any, ...]]], Structs], answer: np.dtype[Any], limit: int, key: bytes
    ) -> None:
        self._make = make
        self._key = siphash_key(key)
        self._limit = limit
        self._full = min(limit, _ENOUGH)
        self._answers: Structs = np.zeros(_SMALLEST, answer)
        self._marks = np.zeros(_SMALLEST, np.uint64)
        self._asked = np.zeros(_SMALLEST, np.bool_)
        self._questions = 0
        self._index = RowIndex()

    def __len__(self) -> int:
        return len(self._index)

    def lookup(self, questions: Sequence[tuple[str | None, ...]]) -> Structs:
        """The answers to all *questions*, ``(n,)``."""
        text, starts, lengths = spans_of([text for question in questions for text in question])
        shape = len(questions), -1
        return self.lookup_spans(Spans(text, starts.reshape(shape), lengths.reshape(shape)))

    def lookup_spans(self, questions: Spans) -> Structs:
        """The answers to questions that lie where they were read, ``(n, m)``."""
        marks = siphash_rows(questions, self._key)
        rows = self._index.find(marks)
        missing = np.flatnonzero(rows < 0)
        if missing.size:
            if len(self) + missing.size > self._full:
                self._make_room(missing.size)
                rows = self._index.find(marks)
                missing = np.flatnonzero(rows < 0)
            self._learn(marks, questions, missing)
            rows[missing] = self._index.find(marks[missing])
        self._asked[rows] = True
        self._questions += rows.size
        return self._answers[rows]

    def _make_room(self, coming: int) -> None:
        """Hold more, unless it was long enough to tell what nobody asks for any more: then forget that."""
        if len(self) + coming > self._limit or self._questions >= _LONG * len(self):
            kept = np.flatnonzero(self._asked[: len(self)])
            self._keep(kept if kept.size + coming <= self._limit else kept[:0])
        self._full = min(self._limit, _size_for(max(_ENOUGH, len(self) * 4 // 3)))

    def _keep(self, kept: NDArray[np.int64]) -> None:
        # In place: arrays of megabytes that come and go leave holes in the heap, which grows by them.
        self._answers[: kept.size], self._marks[: kept.size] = self._answers[kept], self._marks[kept]
        self._asked[:], self._questions = False, 0
        self._index.clear()
        self._index.insert_all(self._marks[: kept.size], np.arange(kept.size))

    def _learn(self, marks: NDArray[np.uint64], questions: Spans, missing: NDArray[np.int64]) -> None:
        """Work the *missing* answers out, each once though it be asked for more often."""
        fresh, first = np.unique(marks[missing], return_index=True)
        begin, end = len(self), len(self) + fresh.size
        if end > self._answers.size:
            size = _size_for(end)
            self._answers = _longer(self._answers, size)
            self._marks, self._asked = _longer(self._marks, size), _longer(self._asked, size)
        self._answers[begin:end] = self._make(questions.rows(missing[first]))
        self._marks[begin:end] = fresh
        self._index.insert_all(fresh, np.arange(begin, end))


def _size_for(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _longer(held: NDArray[Any], size: int) -> NDArray[Any]:
    longer = np.zeros(size, held.dtype)
    longer[: held.size] = held
    return longer
