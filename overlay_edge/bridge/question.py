"""Question: a short answer from a neighbour, asked for once however many want to know it."""

from collections.abc import Callable

from overlay_edge.errors import Refused


class Listener:
    """One who waits for a short answer."""

    def __init__(self, question: "Question") -> None:
        self._question = question

    def close(self) -> None:
        """Wait no longer."""
        self._question.leave(self)


class Question:
    """A short question to a neighbour, asked once for all who want to know.

    Args:
        on_deserted: Called when the last listener has left.
    """

    def __init__(self, on_deserted: Callable[[], None]) -> None:
        self._on_deserted = on_deserted
        self._listeners: dict[
            Listener, tuple[Callable[[bytes], None], Callable[[Refused], None]]
        ] = {}
        self.is_over = False

    def join(
        self, on_answer: Callable[[bytes], None], on_refused: Callable[[Refused], None]
    ) -> Listener:
        """Want to know, too."""
        listener = Listener(self)
        self._listeners[listener] = (on_answer, on_refused)
        return listener

    def leave(self, listener: Listener) -> None:
        """One less wants to know."""
        if self._listeners.pop(listener, None) and not self._listeners and not self.is_over:
            self.is_over = True
            self._on_deserted()

    def answer(self, answer: bytes) -> None:
        """Tell everyone."""
        for on_answer, _ in self._end():
            on_answer(answer)

    def fail(self, refusal: Refused) -> None:
        """Tell everyone that there is no answer."""
        for _, on_refused in self._end():
            on_refused(refusal)

    def _end(self) -> list[tuple[Callable[[bytes], None], Callable[[Refused], None]]]:
        self.is_over = True
        listeners, self._listeners = list(self._listeners.values()), {}
        return listeners
