"""What strings become is worked out once and remembered as packed records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.index import RowIndex
from models.spans import Spans, keyed, spans_of

Structs = NDArray[Any]
_SMALLEST = 256


class Memory:
    """Answers of type *answer*, as *make* works them out for a list of questions, found by a keyed hash.

    A question is a row of texts. Nobody can choose two that meet (see `models.spans.keyed`), so questions are
    not kept: comparing would cost a cache miss for every text. When *limit* answers are held the memory
    starts afresh, which changes no answer; those of one chunk come on top.
    """

    def __init__(
        self, make: Callable[[list[tuple[Any, ...]]], Structs], answer: np.dtype[Any], limit: int
    ) -> None:
        self._make = make
        self._limit = limit
        self._answers: Structs = np.zeros(_SMALLEST, answer)
        self._index = RowIndex()

    def ask(self, questions: Sequence[tuple[str | None, ...]]) -> Structs:
        """The answers to all *questions*, ``(n,)``."""
        text, starts, lengths = spans_of([text for question in questions for text in question])
        shape = len(questions), -1
        return self.recall(Spans(text, starts.reshape(shape), lengths.reshape(shape)))

    def recall(self, questions: Spans) -> Structs:
        """The answers to questions that lie where they were read, ``(n, m)``."""
        marks = keyed(questions)
        rows = self._index.find(marks)
        missing = np.flatnonzero(rows < 0)
        if missing.size:
            if len(self._index) + missing.size > self._limit:
                self._index, missing = RowIndex(), np.arange(marks.size)
            self._learn(marks, questions, missing)
            rows[missing] = self._index.find(marks[missing])
        return self._answers[rows]

    def _learn(self, marks: NDArray[np.uint64], questions: Spans, missing: NDArray[np.int64]) -> None:
        """Work the *missing* answers out, each once though it be asked for more often."""
        fresh, first = np.unique(marks[missing], return_index=True)
        begin, end = len(self._index), len(self._index) + fresh.size
        while end > self._answers.size:
            self._answers = np.concatenate([self._answers, np.zeros_like(self._answers)])
        self._answers[begin:end] = self._make(questions.rows(missing[first]))
        self._index.insert_all(fresh, np.arange(begin, end))
