"""Plain strings of which a line must hold one if a pattern is to match it: looking for strings is
many times faster than trying patterns.
"""

_SHORTEST = 3
_TAKES_LESS = "?*{"  # after a character: it may be missing
_SPECIAL = ".^$|?*+()[]{}"


def needles(pattern: str) -> tuple[str, ...]:
    """One of these is in every text that the pattern matches. Empty: nothing is known.

    Cautious: what it does not understand it takes for "could be anything".
    """
    if "(?" in pattern.replace("(?P<", "").replace("(?:", ""):
        return ()  # flags and assertions: `(?i)`, `(?!...)`
    found = [_longest(part) for part in _alternatives(pattern)]
    return tuple(found) if all(len(text) >= _SHORTEST for text in found) else ()


def _alternatives(pattern: str) -> list[str]:
    """The parts of a pattern between the "|" that stand in no group and in no class."""
    parts, depth, start, i = [], 0, 0, 0
    while i < len(pattern):
        c = pattern[i]
        if c == "\\":
            i += 1
        elif c == "[":
            i = _end_of_class(pattern, i)
        elif c in "()":
            depth += 1 if c == "(" else -1
        elif c == "|" and depth == 0:
            parts.append(pattern[start:i])
            start = i + 1
        i += 1
    return [*parts, pattern[start:]]


def _end_of_class(pattern: str, i: int) -> int:
    """Where the class that begins at i ends. A "]" right after its beginning belongs to it."""
    i += 2 if pattern[i + 1 : i + 2] == "^" else 1
    if pattern[i : i + 1] == "]":
        i += 1
    while i < len(pattern) and pattern[i] != "]":
        i += 2 if pattern[i] == "\\" else 1
    return i


def _longest(part: str) -> str:
    """The longest run of plain characters outside of groups and classes."""
    runs, run, depth, i = [""], "", 0, 0
    while i < len(part):
        c, literal = part[i], ""
        if c == "\\":
            i += 1
            escaped = part[i : i + 1]
            literal = "" if escaped.isalnum() else escaped
        elif c == "[":
            i = _end_of_class(part, i)
        elif c in "()":
            depth += 1 if c == "(" else -1
        elif c not in _SPECIAL:
            literal = c
        following = part[i + 1 : i + 2]
        if literal and depth == 0 and following not in tuple(_TAKES_LESS):
            run += literal
            if following != "+":
                i += 1
                continue
        runs.append(run)
        run = ""
        if following == "{":  # its figures are no text
            i = part.find("}", i)
            if i < 0:
                return ""
        i += 1
    return max([*runs, run], key=len)
