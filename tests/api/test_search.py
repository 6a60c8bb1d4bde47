"""Search, the machine, and galleries (docs/extensions.md)."""

import pytest

from harness import Client, RunningServer, wait_for
from studying import created, study


def ids(hits: list[dict[str, str]]) -> list[str]:
    return [hit["id"] for hit in hits]


def test_every_kind_is_found(server: RunningServer) -> None:
    client, other = server.somebody("finder"), server.somebody("Zebrafriend")
    jobs = [client.create("true", job={"name": f"zebra {n}"})["id"] for n in range(7)]
    body = study(client, table="x\n1\n2\n", job={"name": "ZEBRAS"})
    swept = created(client, body)["id"]
    file = client.upload("a zebra.stl", b"solid")["id"]
    client.create("true", job={"name": "horse"})
    other.create("true", job={"name": "zebra of somebody else"})
    other.upload("zebra of somebody else", b"x")
    found = client.get("search/?q=Zebra")
    assert ids(found["jobs"]) == [swept, *jobs[:2:-1]]
    assert [hit["isStudy"] for hit in found["jobs"]] == [True, False, False, False, False]
    assert ids(found["studies"]) == [swept]
    assert found["files"] == [
        {"id": file, "name": "a zebra.stl", "size": 5, "job": None, "run": None}
    ]
    assert (found["analyses"], found["members"], found["isPartial"]) == ([], [], False)
    # An id is found whatever its name is, and only by who sees it.
    assert ids(client.get(f"search/?q={jobs[0]}")["jobs"]) == [jobs[0]]
    assert ids(client.get(f"search/?q={file}")["files"]) == [file]
    hidden = other.get(f"search/?q={jobs[0]}")
    assert (hidden["jobs"], other.get(f"search/?q={file}")["files"]) == ([], [])
    assert client.get("search/?q=openFOAM")["analyses"][0]["code"] == "openfoam"


def test_outputs_and_what_is_in_the_trash(server: RunningServer) -> None:
    client = server.somebody("outputs")
    job = client.run("echo 1 > okapi.dat; mkdir d; echo 2 > d/okapi.dat")["id"]
    hits = client.get("search/?q=okapi")["files"]
    assert [(hit["job"], hit["run"], hit["size"]) for hit in hits] == [(job, "1", 2)] * 2
    client.call("DELETE", f"files/{hits[0]['id']}/", 204)
    assert len(client.get("search/?q=okapi")["files"]) == 1


def test_members_are_for_administrators(server: RunningServer) -> None:
    somebody = server.somebody("okapi")
    email = somebody.get("users/me/")["email"]
    admin = server.client((server.data / "admin.key").read_text().strip())
    assert [one["email"] for one in admin.get(f"search/?q={email.upper()}")["members"]] == [email]
    assert somebody.get(f"search/?q={email}")["members"] == []


@pytest.mark.parametrize("query", ["", "?q=", "?q=%20", "?text=x", "?q=a%00b"])
def test_a_search_needs_a_text(client: Client, query: str) -> None:
    assert list(client.call("GET", f"search/{query}", 400).json()) == ["q"]


@pytest.mark.parametrize("text", ["%", "_", "\\", "'; DROP TABLE jobs; --", "x" * 4000])
def test_a_text_is_no_pattern(server: RunningServer, text: str) -> None:
    client = server.somebody("literal")
    client.create("true", job={"name": "plain"})
    assert client.call("GET", "search/", 200, params={"q": text}).json()["jobs"] == []


def test_the_machine(server: RunningServer) -> None:
    client = server.somebody("machine")
    wait_for(lambda: client.get("machine/")["memoryTotal"] is not None, "the first measurement")
    now = client.get("machine/")
    assert (now["cores"], now["busy"], now["running"], now["queued"]) == (4, 0, 0, 0)
    assert [engine["name"] for engine in now["engines"]] == ["local"]
    assert 0 < now["memoryUsed"] < now["memoryTotal"]
    jobs = [client.create("sleep 600", cores=cores)["id"] for cores in (2, 4)]
    client.submit(jobs[0])
    wait_for(lambda: client.status(jobs[0]) == "Executing", "Executing")
    client.submit(jobs[1])
    wait_for(lambda: client.status(jobs[1]) == "Queued", "Queued")
    # Figures, and the same for everybody: nobody's names.
    now = server.somebody("stranger").get("machine/")
    assert (now["busy"], now["running"], now["queued"], now["planned"]) == (2, 1, 1, 0)
    for job in reversed(jobs):
        client.call("POST", f"jobs/{job}/stop/", 202)
        client.finished(job)
    assert client.get("machine/")["busy"] == 0


def test_a_gallery(server: RunningServer) -> None:
    client = server.somebody("gallery")
    command = (
        "mkdir plots; test $(cat x.txt) = 2 || cp x.txt plots/p_$(cat x.txt).png; echo > a.png"
    )
    table = "x\n" + "".join(f"{n}\n" for n in range(1, 6))
    template = {"x.txt": ("x.template", "${x}")}
    job = created(client, study(client, command, table=table, templates=template))["id"]
    place = f"jobs/{job}/study/gallery/"
    assert client.get(f"{place}?path=x") == {"runs": [], "next": None}
    client.submit(job)
    client.finished(job)
    page = client.get(f"{place}?path=plots/*.png")
    assert [run["run"] for run in page["runs"]] == ["1", "2", "3", "4", "5"]
    assert page["next"] is None
    paths = [run["file"] and run["file"]["path"] for run in page["runs"]]
    assert paths == ["plots/p_1.png", None, *(f"plots/p_{n}.png" for n in (3, 4, 5))]
    file = page["runs"][2]["file"]
    content = client.call("GET", f"files/{file['id']}/contents/", 200).content
    assert (file["name"], len(content), content) == ("p_3.png", file["bytes"], b"3")
    # A pattern without a slash is one of names; a path is one too.
    for path, expected in (("a.png", "a.png"), ("p_?.png", "plots/p_1.png"), ("zebra", None)):
        first = client.get(f"{place}?path={path}&limit=1")["runs"][0]["file"]
        assert (first and first["path"]) == expected
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get(f"{place}?path=a.png&limit=2&cursor={cursor}")
        found += [run["run"] for run in page["runs"]]
        cursor = page["next"]
    assert found == ["1", "2", "3", "4", "5"]
    for query, field in (
        ("", "path"),
        ("?path=x&cursor=-1", "cursor"),
        ("?path=x&limit=a", "limit"),
    ):
        assert list(client.call("GET", place + query, 400).json()) == [field]
    server.somebody("other").call("GET", f"{place}?path=a.png", 404)
    plain = client.create("true")["id"]
    refused = client.call("GET", f"jobs/{plain}/study/gallery/?path=a", 400).json()
    assert "no study" in refused["detail"]
