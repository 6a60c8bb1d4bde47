"""What is wrong with rules that a catalogue file brings. They run over logs that nobody knows."""

import re
from collections.abc import Iterable, Iterator

from simyard.domain.grammar import Rules

_LONGEST_PATTERN = 400
# What a pattern may hold a digit for.
_FREE_DIGITS = re.compile(r"\\\\|\\d|0-9|\{\d+(,\d*)?\}|\(\?P<\w+>|\(\?P=\w+\)")
_REPEATED_REPEAT = re.compile(
    r"\((?:[^()\\]|\\.)*(?<!\\)[+*](?:[^()\\]|\\.)*\)[+*{]"  # (a+)* takes for ever on some lines
)


def problems(rules: Rules) -> Iterator[str]:
    """Each names its place. Nothing: the rules can be used."""
    for i, text in enumerate(rules.detect):
        yield from _pattern(f"detect[{i}]", text)
    for i, text in enumerate(rules.speaks):
        yield from _pattern(f"speaks[{i}]", text)
    yield from _pattern("begun_by", rules.begun_by)
    yield from _pattern("steady_by", rules.steady_by)
    for i, mark in enumerate(rules.marks):
        place = f"marks[{i}]"
        if bool(mark.pattern) == bool(mark.absent):
            yield f"{place}: give either pattern or absent"
        yield from _pattern(f"{place}.absent", mark.absent)
        yield from _pattern(f"{place}.pattern", mark.pattern)
        yield from _message(place, mark.message, [*_groups(mark.pattern), "line"])
    for i, overlap in enumerate(rules.overlaps):
        place = f"overlaps[{i}]"
        yield from _pattern(f"{place}.open", overlap.open)
        yield from _pattern(f"{place}.close", overlap.close)
        yield from _message(place, overlap.message, [*_groups(overlap.open), "line"])
    for i, bound in enumerate(rules.bounds):
        place = f"bounds[{i}]"
        yield from _pattern(f"{place}.pattern", bound.pattern, "y")
        yield from _pattern(f"{place}.unless", bound.unless)
        yield from _message(place, bound.message, [*_groups(bound.pattern), "line"])
    for i, count in enumerate(rules.counts):
        place = f"counts[{i}]"
        yield from _pattern(f"{place}.created", count.created, "n")
        yield from _pattern(f"{place}.final", count.final, "n")
        yield from _pattern(f"{place}.unless", count.unless)
        yield from _message(place, count.message, ["created", "final"])
    for i, artifact in enumerate(rules.artifacts):
        place = f"artifacts[{i}]"
        yield from _pattern(f"{place}.begins_with", artifact.begins_with, digits=True)
        yield from _pattern(f"{place}.holds", artifact.holds, digits=True)
        yield from _pattern(f"{place}.ends_with", artifact.ends_with, digits=True)
        yield from _message(place, artifact.message, ["path"])
    for i, numbers in enumerate(rules.numbers):
        place = f"numbers[{i}]"
        yield from _pattern(f"{place}.begin", numbers.begin, digits=True)
        yield from _pattern(f"{place}.end", numbers.end, digits=True)
        yield from _pattern(f"{place}.number", numbers.number, digits=True)
        yield from _message(place, numbers.message, ["path", "y"])


def _pattern(place: str, text: str, group: str = "", *, digits: bool = False) -> Iterator[str]:
    """digits: it may tell one digit from another."""
    if not text and not group:
        return
    try:
        compiled = re.compile(text)
    except re.error as error:
        yield f"{place}: {text!r}: {error}"
        return
    if group and group not in compiled.groupindex:
        yield f"{place}: {text!r} has no group (?P<{group}>...)"
    if len(text) > _LONGEST_PATTERN:
        yield f"{place}: it is longer than {_LONGEST_PATTERN} characters"
    if _REPEATED_REPEAT.search(text):
        yield f"{place}: {text!r} repeats what repeats, which takes for ever on some lines"
    if not digits and re.search(r"\d", _FREE_DIGITS.sub("", text)):
        yield f"{place}: {text!r} tells digits apart: write \\d, and a bound for the value"


def _groups(pattern: str) -> list[str]:
    try:
        return list(re.compile(pattern).groupindex)
    except re.error:
        return []


def _message(place: str, text: str, names: Iterable[str]) -> Iterator[str]:
    try:
        text.format_map(dict.fromkeys(names, ""))
    except (LookupError, ValueError, AttributeError):
        yield f"{place}.message: {text!r} names no group of the pattern"
