"""Bring the generated parts of the documentation up to date, or tell which are not: --check

    docs/settings.md    from simyard.settings
    docs/authorisation.md   from the routes and the policy in tests/matrix.py
    docs/openapi.json   from the routes
    docs/compatibility.*    from docs/contract.toml, docs/differences.toml, docs/proofs.json and the
                        routes; a claim without proof or reason is an error
    docs/lifecycle.md   its diagrams and tables, from simyard.domain.lifecycle
    README.md           its picture, from the imports of the packages

In files that people write, the generated parts stand between `<!-- generated: NAME -->` and
`<!-- end -->`.
"""

import difflib
import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import grimp

from simyard.api.app import OPERATIONS
from simyard.api.openapi import document
from simyard.domain import lifecycle
from simyard.domain.lifecycle import State
from simyard.settings import CONFIG_NAME, PREFIX, Settings

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import matrix  # noqa: E402
import table  # noqa: E402

# --- settings -------------------------------------------------------------------------------------

SETTINGS = f"""# Settings

Every setting can stand in `{CONFIG_NAME}` in the data folder or in the environment, as `{PREFIX}`
and its name in capitals; `simyard serve` has options for the most common ones. The command line is
the strongest, then the environment, then the file. A name that is not known and a value that does
not fit stop the start with a message that names them.

| Setting | Default | Meaning |
| --- | --- | --- |
"""


def settings_page() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "required" if field.is_required() else _shown(default)
        rows.append(f"| `{name}` | {shown} | {field.description} |\n")
    return SETTINGS + "".join(rows)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, frozenset):
        return "`[]`" if not value else f"`{sorted(value)}`"
    if value is None:
        return "none"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


# --- lifecycle ------------------------------------------------------------------------------------


def life_of_a_run() -> str:
    """A state diagram; stops, which come from many states, are gathered in one arrow each."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.DRAFT}"]
    for (state, event), then in lifecycle.MOVES.items():
        lines.append(f"    {state} --> {then}: {event}")
    return "\n".join([*lines, f"    {State.CLOSED} --> [*]", "```"])


def states() -> str:
    head = "| State | What is owed | Holds cores | Job's word | Cluster's words |"
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *(_row(state) for state in State)])


def _words(state: State) -> list[str]:
    waiting = lifecycle.WAIT_WORDS.values() if state is State.WAITING else ()
    return list(waiting or filter(None, [lifecycle.JOB_WORDS.get(state)]))


def _row(state: State) -> str:
    cells = (
        f"`{state}`",
        lifecycle.OWED.get(state, ""),
        "yes" if state in lifecycle.HOLDS_CORES else "",
        ", ".join(_words(state)),
        ", ".join(lifecycle.CLUSTER_WORDS.get(state, ())),
    )
    return f"| {' | '.join(cells)} |"


# --- the picture ----------------------------------------------------------------------------------

# From the top down; what stands in a line does not import one another. Checked by `make check`.
LAYERS = (
    ("cli",),
    ("bootstrap", "torture", "client"),
    ("api", "worker"),
    ("service",),
    ("store", "blobs", "engines"),
    ("domain",),
)


def picture() -> str:
    """Packages and who imports whom. Left out are most arrows of `bootstrap`, which ties everything
    together, and those to `domain` from above its neighbours, which everybody has.
    """
    graph = grimp.build_graph("simyard")
    lines = ["```mermaid", "flowchart TD"]
    names = [name for layer in LAYERS for name in layer]
    for name in names:
        module = importlib.import_module(f"simyard.{name}")
        said = re.split(r"(?<=\.)\s", (module.__doc__ or "").strip())[0]
        lines.append(f'    {name}["<b>{name}</b><br/>{said.replace(chr(34), chr(39))}"]')
    for name in names:
        for other in names:
            hidden = other == "domain" or (name == "bootstrap" and other not in ("api", "worker"))
            if name != other and not hidden and _imports(graph, name, other):
                lines.append(f"    {name} --> {other}")
    lines += [f"    {name} --> domain" for name in LAYERS[-2]]
    return "\n".join([*lines, "```"])


def _imports(graph: grimp.ImportGraph, name: str, other: str) -> bool:
    above, below = f"simyard.{name}", f"simyard.{other}"
    return any(
        target == below or target.startswith(f"{below}.")
        for module in {above} | graph.find_descendants(above)
        for target in graph.find_modules_directly_imported_by(module)
    )


# --- the API --------------------------------------------------------------------------------------


def openapi_page() -> str:
    """Committed, so that a change of the API shows in the difference."""
    return json.dumps(document(OPERATIONS), indent=1) + "\n"


# --- writing --------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], str]] = {
    "life of a run": life_of_a_run,
    "states": states,
    "picture": picture,
    "compatibility": table.summary,
    "compatibility endpoints": table.endpoints,
    "compatibility fields": table.objects,
    "compatibility additions": table.added,
    "compatibility sources": table.sources,
}
PAGES: dict[str, Callable[[], str]] = {
    "docs/settings.md": settings_page,
    "docs/authorisation.md": matrix.page,
    "docs/openapi.json": openapi_page,
    "docs/compatibility.csv": table.csv_page,
}
WITH_PARTS = ("README.md", "docs/lifecycle.md", "docs/compatibility.md")

_PART = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated() -> dict[Path, str]:
    found = {ROOT / name: make() for name, make in PAGES.items()}
    for name in WITH_PARTS:
        text = (ROOT / name).read_text()
        found[ROOT / name] = _PART.sub(lambda m: f"{m[1]}\n{PARTS[m[2]]()}\n\n{m[3]}", text)
    return found


def main() -> int:
    stale = False
    for path, text in generated().items():
        before = path.read_text() if path.exists() else ""
        if before == text:
            continue
        stale = True
        name = str(path.relative_to(ROOT))
        if "--check" in sys.argv:
            lines = difflib.unified_diff(before.splitlines(), text.splitlines(), name, "generated")
            print("\n".join(lines), file=sys.stderr)
        else:
            path.write_text(text)
            print(f"written: {name}", file=sys.stderr)
    wrong = table.problems()
    if wrong:
        print("\n".join(wrong[:50]), file=sys.stderr)
        print(f"docs/compatibility.md: {len(wrong)} lines do not hold", file=sys.stderr)
        if "--check" in sys.argv:
            return 1
    if stale and "--check" in sys.argv:
        print("generated documentation is out of date: make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
