"""What the documentation says is there, and what is there is documented."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from simyard.settings import Settings

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
PAGES = [ROOT / name for name in TRACKED if name.endswith(".md")]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"| `{name}` |" in page


def test_every_route_of_ours_is_documented() -> None:
    """What goes beyond the contract must stand among the extensions."""
    page = (ROOT / "docs" / "extensions.md").read_text()
    for word in (
        "series/",
        "series/data/",
        "notices",
        "installed",
        "installHint",
        "aliasOf",
        "restart/",
        "metrics/",
        "outcome",
    ):
        assert word in page
    for word in ("Idempotency-Key", "/health", "/metrics"):
        assert word in page


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    pages = sorted(p.name for p in folder.glob("[0-9]*.md"))
    assert [name[:4] for name in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    assert all(name in index for name in pages)


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = project["project"]["dependencies"] + [
        entry
        for group in (
            *project["project"]["optional-dependencies"].values(),
            *project["dependency-groups"].values(),
        )
        for entry in group
    ]
    reasons = "".join(p.read_text() for p in (ROOT / "docs" / "adr").glob("*dependenc*.md"))
    for entry in asked:
        name = re.split(r"[<>=\[ ]", entry)[0]
        assert re.search(rf"`{name}`", reasons), f"no reason is given for {name}"


@pytest.mark.parametrize("lock", LOCKS, ids=[p.name for p in LOCKS])
def test_locks_hold_names_versions_and_hashes_only(lock: Path) -> None:
    for line in lock.read_text().splitlines():
        assert re.fullmatch(
            r"[a-z0-9._-]+==[\w.]+( ; [^;]*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line
        ), line


def test_the_lock_has_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = dict(
        re.findall(
            r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE
        )
    )
    extras = project["project"]["optional-dependencies"]
    groups = project["dependency-groups"]
    for entry in (
        *project["project"]["dependencies"],
        *extras["server"],
        *extras["demo"],
        *groups["dev"],
    ):
        name, least = re.fullmatch(r"([\w.-]+)>=([\d.]+)", entry).groups()  # type: ignore[union-attr]
        assert _numbers(locked[name]) >= _numbers(least), name


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def test_generated_documentation_is_fresh() -> None:
    command = [sys.executable, "scripts/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_path_of_somebodys_machine() -> None:
    homes = re.compile(r"(?<![\w$}>.~*])/(?:root|work)/")
    for name in TRACKED:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".json", "") and path.is_file():
            assert not homes.search(path.read_text(errors="ignore")), name
