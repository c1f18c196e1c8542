"""One request for everybody who asks the same at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Answered = TypeVar("Answered")


class _Asking(Generic[Answered]):
    """A question on its way, and how many wait for the answer."""

    def __init__(self, task: "asyncio.Task[Answered]") -> None:
        self.task = task
        self.waiting = 0


class SharedQuestions(Generic[Answered]):
    """Asks a question once while it is on its way; all who ask get its answer, or its error.

    One who is cancelled does not take the answer from the others; once nobody waits any more, the question is
    given up.
    """

    def __init__(self) -> None:
        self._asking: dict[Hashable, _Asking[Answered]] = {}

    async def ask(self, question: Hashable, how: Callable[[], Coroutine[Any, Any, Answered]]) -> Answered:
        """Return the answer; ``how`` is called only if nobody asks the same at the moment."""
        asking = self._asking.get(question)
        if asking is None:
            asking = self._asking[question] = _Asking(asyncio.create_task(how()))
            asking.task.add_done_callback(lambda _: self._forget(question, asking))
        asking.waiting += 1
        try:
            return await asyncio.shield(asking.task)
        finally:
            asking.waiting -= 1
            if not asking.waiting and not asking.task.done():
                self._forget(question, asking)
                asking.task.cancel()

    def _forget(self, question: Hashable, asking: _Asking[Answered]) -> None:
        if self._asking.get(question) is asking:
            del self._asking[question]
        if asking.task.done() and not asking.task.cancelled():
            asking.task.exception()  # it was told to whoever waited; nobody else has to hear of it
