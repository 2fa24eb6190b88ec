"""Question: asked once, told to everyone who still wants to know."""

from overlay_edge.bridge.question import Question
from overlay_edge.errors import Refused


def test_everyone_is_told_but_who_left() -> None:
    left: list[str] = []
    told: list[bytes | Refused] = []
    question = Question(lambda: left.append("all"))
    question.join(told.append, told.append)
    gone = question.join(told.append, told.append)
    gone.close()
    gone.close()
    question.answer(b"7")
    assert (told, left, question.is_over) == ([b"7"], [], True)


def test_when_the_last_one_leaves_it_is_over_once() -> None:
    left: list[str] = []
    question = Question(lambda: left.append("all"))
    listeners = [question.join(lambda _: None, lambda _: None) for _ in range(2)]
    for listener in (*listeners, *listeners):
        listener.close()
    assert (left, question.is_over) == (["all"], True)


def test_a_failure_is_told_once() -> None:
    told: list[bytes | Refused] = []
    question = Question(lambda: None)
    listener = question.join(told.append, told.append)
    refusal = Refused(503, "busy", "no")
    question.fail(refusal)
    question.fail(refusal)
    listener.close()
    assert told == [refusal]
