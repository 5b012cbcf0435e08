"""What strings become is worked out once and remembered as packed records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.index import SessionIndex
from models.spans import Spans, keyed, spans_of

Structs = NDArray[Any]
_SMALLEST = 256


class Memory:
    """Answers of type *answer* as *make* packs them, found by the keyed hash of their question.

    A question is a row of texts. Nobody can choose two that meet (see `models.spans.keyed`), so questions are
    not kept: comparing would cost a cache miss for every text. When *limit* answers are held the memory
    starts afresh, which changes no answer; those of one chunk come on top.
    """

    def __init__(self, make: Callable[..., bytes], answer: np.dtype[Any], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._answers: Structs = np.zeros(_SMALLEST, answer)
        self._index = SessionIndex()

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
                self._index, missing = SessionIndex(), np.arange(marks.size)
            for at in missing.tolist():
                rows[at] = self._learn(marks[at : at + 1], questions, at)
        return self._answers[rows]

    def _learn(self, mark: NDArray[np.uint64], questions: Spans, at: int) -> int:
        row = int(self._index.find(mark)[0])  # asked before in this chunk
        if row < 0:
            row = len(self._index)
            if row == self._answers.size:
                self._answers = np.concatenate([self._answers, np.zeros_like(self._answers)])
            told = (questions.told(at, member) for member in range(questions.starts.shape[1]))
            self._answers[row] = np.frombuffer(self._make(*told), self._answers.dtype)[0]
            self._index.insert(int(mark[0]), row)
        return row
