"""How a solver is asked to end in its own way, and what it can go on from.

The catalogue says it (`[[stop]]`, `[checkpoint]`); what is done with it is in `service/stopping.py`
and `service/restarting.py`. Files are named by the end of their path: `system/controlDict` is found
in every case of a run, at whatever depth.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from simyard.domain.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What must be so before a recipe is tried."""

    file: str  # the end of a path: "system/controlDict", "*.in"
    pattern: str  # must be found in it; its groups may be used in `create`


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change of a text file: either `set` and `value`, or `pattern` and `text`."""

    file: str = ""  # the end of a path; in a stop recipe always that of `needs`
    set: str = ""  # the entry `set value;` at the top level, as in OpenFOAM's dictionaries
    value: str = ""
    pattern: str = ""  # every place where it is found becomes `text`, which may use its groups
    text: str = ""

    def apply(self, content: str) -> str:
        if self.set:
            return set_entry(content, self.set, self.value)
        return re.sub(self.pattern, self.text, content)


@dataclass(frozen=True, kw_only=True)
class StopRecipe:
    """One way to ask for the end: exactly one of `edit`, `create` and `signal`."""

    kind: str  # in words: "write and stop"
    needs: Needs | None = None  # None: it can always be tried
    edit: Edit | None = None  # of each file that `needs` was found in
    create: str = ""  # an empty file, relative to the case: "STOP", "{prefix}.EXIT"
    signal: str = ""  # to every process of the run: "TERM"


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A file that must be there under another name too."""

    file: str  # the end of a path: "*.rout"
    to: str  # beside it; {stem} is its name without the last suffix


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """How an analysis goes on from what an earlier attempt has left."""

    files: tuple[str, ...]  # regular expressions on paths of outputs: one must be found
    what: str  # they in words: "a time folder"
    edit: tuple[Edit, ...] = ()  # in order, in every file of their names
    copy: tuple[Copy, ...] = ()
    needs_command: bool = False  # the same command would begin again
    hint: str = ""  # an example of such a command

    def is_left_in(self, path: str) -> bool:
        """Whether this output is something to go on from."""
        return any(re.search(pattern, path) for pattern in self.files)


def case_of(path: str, file: str) -> str | None:
    """The folder from which `path` is called `file`: "a" for "a/system/controlDict" and
    "system/controlDict". None where the path does not end like this.
    """
    whole, end = PurePosixPath(path), PurePosixPath(file)
    if not whole.match(file):
        return None
    parts = whole.parts[: len(whole.parts) - len(end.parts)]
    return "/".join(parts)


def fill(text: str, groups: Mapping[str, str | None]) -> str:
    """Put the groups of a match in the places of their names in braces."""
    for name, value in groups.items():
        text = text.replace("{" + name + "}", value or "")
    return text


# What hides words of a dictionary from its reader: comments and quoted texts.
_HIDDEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:[^"\\]|\\.)*"', re.DOTALL)


def set_entry(content: str, name: str, value: str) -> str:
    """A dictionary in the form of OpenFOAM with `name value;` at its top level: in the place of the
    entries of that name, or at its end. The same again changes nothing.
    """
    bare = _top_level(content)
    found = list(re.finditer(rf"(?<![^\s;}}]){re.escape(name)}\s+([^;]*);", bare))
    if not found:
        return f"{content.rstrip()}\n\n{name} {value};\n"
    for match in reversed(found):
        content = content[: match.start(1)] + value + content[match.end(1) :]
    return content


def _top_level(content: str) -> str:
    """The same text with blanks for comments, quoted texts and what stands in braces."""
    bare = _HIDDEN.sub(lambda hidden: " " * len(hidden[0]), content)
    kept: list[str] = []
    depth = at = 0
    for brace in re.finditer(r"[{}]", bare):
        inside = bare[at : brace.start()]
        kept.append(inside if depth == 0 else " " * len(inside))
        depth = depth + 1 if brace[0] == "{" else max(0, depth - 1)
        kept.append("}" if depth == 0 else " ")
        at = brace.end()
    rest = bare[at:]
    kept.append(rest if depth == 0 else " " * len(rest))
    return "".join(kept)
