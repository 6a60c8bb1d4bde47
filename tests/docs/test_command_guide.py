"""Every command of the guide to `simyard api` works as printed, with address, data folder and ids
replaced.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from harness import RunningServer

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "command.md").read_text()
SNIPPETS = dict(re.findall(r"<!-- test: (\w+) -->\n```shell\n(.*?)\n```", GUIDE, re.DOTALL))


def test_the_guide_as_it_is_printed(server: RunningServer, tmp_path: Path) -> None:
    snippets = dict(SNIPPETS)
    assert GUIDE.count("```shell") == len(snippets)
    (tmp_path / "points.csv").write_text("1,2\n3,4\n5,6\n")
    own = {"http://localhost:8420": server.address, ".cache/data": str(server.data)}
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": programs}

    def paste(name: str) -> str:
        text = snippets.pop(name)
        for sample, mine in own.items():
            text = text.replace(sample, mine)
        done = subprocess.run(
            ["bash", "-e", "-c", text],
            cwd=tmp_path,
            env=environment,
            timeout=100,
            capture_output=True,
            text=True,
            check=False,
        )
        said = "error: Not found. (404)\n" if name == "error" else ""
        assert (done.returncode, done.stderr) == (0, said), name
        return done.stdout

    snippets["environment"] += '\necho "$SIMYARD_URL $SIMYARD_API_KEY"'
    address, key = paste("environment").split()
    environment |= {"SIMYARD_URL": address, "SIMYARD_API_KEY": key}
    own["XkpTse"] = json.loads(paste("upload"))["id"]
    own["QTVia"] = json.loads(paste("create"))["id"]
    assert paste("submit") == ""
    assert paste("live").rstrip().rpartition("event: ")[2].startswith("end\n")
    client = server.client(key)
    assert client.finished(own["QTVia"]) == "Completed successfully"
    (answer,) = client.get(f"jobs/{own['QTVia']}/files/?search=answer")["results"]
    own["iudjqe"] = answer["id"]
    statuses, files = paste("results").split("}[", 1)
    assert json.loads(statuses + "}")["results"][0]["status"] == "Completed"
    assert [file["id"] for file in json.loads("[" + files)] == [answer["id"]]
    assert (tmp_path / "answer.txt").read_text() == "3\n"
    assert paste("error") == "there is none\n"
    assert snippets == {}
