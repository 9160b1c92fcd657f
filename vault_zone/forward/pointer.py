"""JSON Pointers (RFC 6901) into requests and answers, with ``*`` for every element of an array."""

import re
from collections.abc import Iterator

Step = str | int
Steps = tuple[Step, ...]

ANY = "*"
_FORM = re.compile(r"(?:/(?:[^~/{}]|~[01]){1,64}){1,12}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,4}")


def is_pointer(text: str) -> bool:
    """Whether the text is a pointer of 1 to 12 steps, without braces, so that it never looks like a placeholder."""
    return _FORM.fullmatch(text) is not None


def steps_of(pointer: str) -> tuple[str, ...]:
    """The pointer's steps, unescaped."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def text_of(steps: Steps) -> str:
    """The pointer that has these steps."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def found_at(value: object, pointer: str) -> Iterator[tuple[str, object]]:
    """What the pointer names in a parsed JSON value, each with its own pointer; ``*`` stands for array elements only."""
    yield from _follow(value, steps_of(pointer), ())


def _follow(value: object, steps: tuple[str, ...], passed: Steps) -> Iterator[tuple[str, object]]:
    if not steps:
        yield text_of(passed), value
        return
    first, rest = steps[0], steps[1:]
    if isinstance(value, dict) and first in value:
        yield from _follow(value[first], rest, (*passed, first))
    elif isinstance(value, list) and first == ANY:
        for index, element in enumerate(value):
            yield from _follow(element, rest, (*passed, index))
    elif isinstance(value, list) and _INDEX.fullmatch(first) and int(first) < len(value):
        yield from _follow(value[int(first)], rest, (*passed, int(first)))
