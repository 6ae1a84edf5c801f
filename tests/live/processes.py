"""Replicas of a backend: processes that begin a part at the same instant."""

import multiprocessing
import traceback
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

__all__ = ["at_once"]

_PATIENCE = 240.0  # seconds for all of them together
_CONTEXT: Any = multiprocessing.get_context("forkserver")
_P = ParamSpec("_P")
_T = TypeVar("_T")


def at_once(
    count: int,
    part: Callable[Concatenate[int, Callable[[], None], _P], _T],
    *arguments: _P.args,
    **named: _P.kwargs,
) -> list[_T]:
    """Run a part in so many processes; return what each returned.

    Args:
        count: How many.
        part: Given the process's number, and what it calls to wait for the others.
        arguments: And these.
        named: And these.
    """
    barrier = _CONTEXT.Barrier(count)
    running = []
    for number in range(count):
        answer, answers = _CONTEXT.Pipe(duplex=False)
        work = (part, number, arguments, named, barrier, answers)
        process = _CONTEXT.Process(target=_play, args=work, daemon=True)
        process.start()
        answers.close()
        running.append((process, answer))
    try:
        return [_told(answer) for _, answer in running]
    finally:
        for process, answer in running:
            process.kill()
            process.join()
            answer.close()


def _told(answer: Any) -> Any:
    if not answer.poll(_PATIENCE):
        raise TimeoutError(f"a replica was not done within {_PATIENCE:g} s")
    result, failure = answer.recv()
    if failure is not None:
        raise RuntimeError(f"a replica failed:\n{failure}")
    return result


def _play(part: Any, number: int, arguments: Any, named: Any, barrier: Any, answers: Any) -> None:
    try:
        answers.send((part(number, lambda: barrier.wait(60), *arguments, **named), None))
    except BaseException:
        answers.send((None, traceback.format_exc()))
        raise
