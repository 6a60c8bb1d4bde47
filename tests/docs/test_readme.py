"""Every command of the README works as printed, with host, data folder and ids replaced."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import RunningServer

ROOT = Path(__file__).parents[2]
SNIPPET = re.compile(r"<!-- test: (\w+) -->\n```(\w+)\n(.*?)\n```", re.DOTALL)
SNIPPETS = {name: (language, text) for name, language, text in SNIPPET.findall(
    (ROOT / "README.md").read_text()
)}  # fmt: skip
STEPS = ["key", "upload", "analyses", "create", "submit", "monitor", "results", "download"]


def test_every_snippet_is_run_here() -> None:
    fences = re.findall(r"^```(?:shell|python)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert list(SNIPPETS) == [*STEPS, "python"]
    assert len(fences) == len(SNIPPETS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the README takes for granted: the case, and the command in .venv."""
    build = ROOT / "examples" / "airfoil2d" / "build.py"
    subprocess.run([sys.executable, str(build), "airfoil2d.zip"], cwd=tmp_path, check=True)
    command = tmp_path / ".venv" / "bin" / "simyard"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m simyard "$@"\n')
    command.chmod(0o755)
    return tmp_path


class Reader:
    """Somebody who pastes the README, with his own ids in the place of the samples."""

    def __init__(self, folder: Path, server: RunningServer) -> None:
        self._folder = folder
        self._replaced = {
            "http://localhost:8420": server.address,
            ".cache/data": str(server.data),
        }
        self._environment = dict(os.environ)

    def mine(self, sample: str, own: str) -> None:
        self._replaced[sample] = own

    def paste(self, name: str) -> str:
        """What a snippet prints."""
        language, text = SNIPPETS[name]
        for sample, own in self._replaced.items():
            text = text.replace(sample, own)
        if language == "python":
            command = [sys.executable, "-c", text]
        else:
            command = ["bash", "-e", "-o", "pipefail", "-c", text.replace("curl ", "curl -sSf ")]
            if name == "key":
                command[-1] += '\necho "$KEY"'
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def replies(self, name: str) -> list[Any]:
        decoder, found, text = json.JSONDecoder(), [], self.paste(name).strip()
        while text:
            reply, end = decoder.raw_decode(text)
            found.append(reply)
            text = text[end:].strip()
        return found

    def key(self) -> str:
        self._environment["KEY"] = self.paste("key").strip()
        return self._environment["KEY"]


@pytest.mark.openfoam
def test_the_tutorial_as_it_is_printed(folder: Path, server: RunningServer) -> None:
    reader = Reader(folder, server)
    client = server.client(reader.key())
    (file,) = reader.replies("upload")
    reader.mine("XkpTse", file["id"])
    (analyses,) = reader.replies("analyses")
    assert "openfoam" in [a["code"] for a in analyses["results"] if a["installed"]]
    (job,) = reader.replies("create")
    reader.mine("QTVia", job["id"])
    assert reader.paste("submit") == ""
    statuses, _series = reader.replies("monitor")
    assert statuses["results"][-1]["status"] == "Pending"
    assert client.finished(job["id"]) == "Completed successfully"
    statuses, series = reader.replies("monitor")
    assert statuses["results"][0]["status"] == "Completed"
    assert series["keys"]["residuals/p"]["last"][-1] < 1e-3
    runs, files, found = reader.replies("results")
    assert runs["count"] == 1
    assert files["count"] == runs["results"][0]["outputFileCount"]
    (log,) = found["results"]
    reader.mine("iudjqe", log["id"])
    reader.paste("download")
    said = (folder / "process_output.log").read_text()
    assert "simpleFoam" in said
    assert len(said) == log["decryptedSize"]


@pytest.mark.openfoam
def test_the_tutorial_in_python(folder: Path, server: RunningServer) -> None:
    reader = Reader(folder, server)
    reader.key()
    said = reader.paste("python").splitlines()
    assert "'openfoam'" in said[0]
    assert said[1] == "Completed successfully"
    assert "simpleFoam" in (folder / "process_output.log").read_text()
    shutil.rmtree(folder)


def test_the_targets_that_it_names_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(
        r"`make ([a-z]+)`|^    (?:KEEP=1 )?make ([a-z]+)",
        (ROOT / "README.md").read_text(),
        re.MULTILINE,
    ):
        assert re.search(rf"^{target[0] or target[1]}:", makefile, re.MULTILINE), target
