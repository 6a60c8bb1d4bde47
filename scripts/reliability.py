"""Put what the last full run of `make torture` found into docs/reliability.md.

Reads docs/reliability.json, and docs/verdicts.json where the score of the verdicts is at hand.
The page's own words are left alone: the generated part stands between its two marks.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
MARKS = ("<!-- torture: generated -->", "<!-- torture: end -->")

NOT_TESTED = """What was not tested: power loss (what is relied on is that flushes flush; a restart
of the machine is played by killing every process at once and changing the boot id), limits of
memory by cgroup v2, several machines, other file systems than tmpfs here and that of the test
machine elsewhere, a server that is not root, faulty memory and disks. The server sees the clock
jump, supervisors do not."""


def page(text: str, result: dict[str, Any], verdicts: dict[str, Any] | None) -> str:
    """The page with the generated part brought up to date; at its end where it has none yet."""
    part = f"{MARKS[0]}\n{generated(result, verdicts)}\n{MARKS[1]}"
    if MARKS[0] not in text:
        return f"{text.rstrip()}\n\n{part}\n"
    return re.sub(f"{MARKS[0]}.*{MARKS[1]}", lambda _: part, text, flags=re.DOTALL)


def generated(result: dict[str, Any], verdicts: dict[str, Any] | None) -> str:
    kills = sum(result["faults"].get(kind, 0) for kind in ("server", "supervisor", "fork server"))
    found = len(result["violations"])
    parts = [
        "## The last full run of `make torture`",
        "",
        (
            f"Seed {result['seed']}, {result['concurrency']} clients, {result['seconds']:.0f} s, "
            f"{kills} random kills, load average {result['load_average']}. "
            f"Violations: **{found}**. `simyard torture --help` runs it on your machine."
        ),
        "",
        *_table("fault", "times", result["faults"]),
        *_table("what was done and seen", "count", result["counts"]),
        *_table("promise", "violations", result["promises"]),
        *[f"- violation: {line}" for line in result["violations"]],
        *[f"- not possible there: {line}" for line in result["not_possible"]],
        *[f"- crash point not reached: {line}" for line in result["not_reached"]],
        *[f"- in the server's log: `{line}`" for line in result["surprises"]],
        "",
    ]
    if verdicts is not None:
        parts += ["### Verdicts over recorded runs", "", *_table("score", "", verdicts)]
    return "\n".join([*parts, NOT_TESTED])


def _table(name: str, value: str, rows: dict[str, Any]) -> list[str]:
    lines = [f"| {key} | {shown} |" for key, shown in rows.items()]
    return [f"| {name} | {value} |", "| --- | ---: |", *lines, ""]


def main() -> int:
    docs = ROOT / "docs"
    result = json.loads((docs / "reliability.json").read_text())
    verdicts = docs / "verdicts.json"
    score = json.loads(verdicts.read_text()) if verdicts.exists() else None
    text = PAGE.read_text()
    wanted = page(text, result, score)
    if "--check" in sys.argv:
        return 0 if wanted == text else 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
