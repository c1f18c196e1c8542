"""Answers that cannot change, kept so that nobody has to ask for them twice."""

from collections import OrderedDict
from typing import TypeAlias

Question: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A path, and its parameters by name."""


class KeptAnswers:
    """The answers that were used last, up to so many bytes; the one that was not used for longest goes."""

    def __init__(self, limit: int) -> None:
        """Keep bodies of at most so many bytes together."""
        self._limit = limit
        self._bodies: OrderedDict[Question, bytes] = OrderedDict()
        self.size = 0
        """Bytes that are kept."""

    def get(self, question: Question) -> bytes | None:
        """Return the answer, if it is here."""
        body = self._bodies.get(question)
        if body is not None:
            self._bodies.move_to_end(question)
        return body

    def drop(self, parameter: tuple[str, str]) -> None:
        """Forget the answers to all questions with this parameter."""
        for question in [one for one in self._bodies if parameter in one[1]]:
            self.size -= len(self._bodies.pop(question))

    def put(self, question: Question, body: bytes) -> None:
        """Keep an answer; one that is larger than everything that may be kept is not."""
        if len(body) > self._limit:
            return
        self.size += len(body) - len(self._bodies.pop(question, b""))
        self._bodies[question] = body
        while self.size > self._limit:
            self.size -= len(self._bodies.popitem(last=False)[1])
