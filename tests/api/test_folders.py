"""Libraries, their folders and the trash (api-v2 reference, 8)."""

import json
from typing import Any

import pytest

from harness import Client, RunningServer, pages

RECOVER = "/api/v3/users/me/folders/trash-bin/recover/"
DELETE = "/api/v3/users/me/folders/trash-bin/delete/"
TAKEN = {"name": ["A folder with this name is already there."]}


class Library:
    """The folders of one user."""

    def __init__(self, client: Client) -> None:
        self.client = client
        roots = client.get("/api/v3/users/me/folders/")
        self.root: str = roots["myLibrary"]
        self.jobs: str = roots["myJobs"]

    def make(self, name: str, inside: str = "") -> str:
        place = f"/api/v3/folders/{inside or self.root}/"
        made = self.client.call("POST", place, 201, json={"name": name}).json()
        assert made["name"] == name
        return str(made["id"])

    def upload(self, name: str, folder: str = "") -> str:
        file = self.client.upload(name, name.encode())["id"]
        if folder:
            self.move(file, folder)
        return str(file)

    def move(self, file: str, folder: str | None) -> None:
        self.client.call("PATCH", f"files/{file}/", 200, json={"currentFolderId": folder})

    def shows(self, folder: str = "", size: int = 3) -> list[str]:
        """Names of what is in a folder, in pages."""
        return self._names(f"/api/v3/folders/{folder or self.root}/contents/?page_size={size}")

    def trash(self, size: int = 3) -> list[str]:
        return self._names(f"/api/v3/users/me/folders/trash-bin/?page_size={size}")

    def _names(self, url: str) -> list[str]:
        found = list(pages(self.client, url))
        entries = [entry for page in found for entry in page["results"]]
        assert {page["count"] for page in found} == {len(entries)}
        suffix = {"folder": "/", "file": ""}
        return [entry["item"]["name"] + suffix[entry["type"]] for entry in entries]

    def throw_away(
        self, *, files: list[str] | None = None, folders: list[str] | None = None
    ) -> None:
        body = {"fileIds": files or [], "folderIds": folders or []}
        place = f"/api/v3/folders/{self.root}/contents/archive/"
        self.client.call("POST", place, 204, json=body)

    def recover(self, *, files: list[str] | None = None, folders: list[str] | None = None) -> None:
        body = {"filesymlink_ids": files or [], "folderIds": folders or []}
        assert self.client.call("POST", RECOVER, 201, json=body).json() == {}

    def delete(self, *, files: list[str] | None = None, folders: list[str] | None = None) -> None:
        body = {"filesymlink_ids": files or [], "folderIds": folders or []}
        assert self.client.call("POST", DELETE, 201, json=body).json() == {}

    @property
    def count(self) -> int:
        """Of files/, held against its pages."""
        found = list(pages(self.client, "files/?page_size=3"))
        assert {page["count"] for page in found} == {sum(len(p["results"]) for p in found)}
        return int(found[0]["count"])


@pytest.fixture
def library(server: RunningServer) -> Library:
    return Library(server.somebody())


# --- folders --------------------------------------------------------------------------------------


def test_a_new_library_is_empty(library: Library) -> None:
    assert library.root != library.jobs
    for folder in (library.root, library.jobs):
        assert library.shows(folder) == []
    assert library.trash() == []
    assert Library(library.client).root == library.root


def test_folders_in_folders(library: Library) -> None:
    cases = library.make("cases")
    wing, fin = library.make("wing", cases), library.make("fin", cases)
    deep = library.make("deep", wing)
    assert library.shows() == ["cases/"]
    assert library.shows(cases) == ["fin/", "wing/"]
    assert library.shows(wing) == ["deep/"]
    assert library.shows(deep) == library.shows(fin) == []
    (entry,) = library.client.get(f"/api/v3/folders/{wing}/contents/")["results"]
    assert entry["type"] == "folder"
    assert entry["item"]["id"] == deep and entry["item"]["parentId"] == wing
    (entry,) = library.client.get(f"/api/v3/folders/{library.root}/contents/")["results"]
    assert entry["item"]["parentId"] is None


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "\x00", "n" * 256])
def test_names_that_no_folder_can_have(library: Library, name: str) -> None:
    folder = library.make("there")
    for method, place in (("POST", library.root), ("PATCH", folder)):
        reply = library.client.call(method, f"/api/v3/folders/{place}/", 400, json={"name": name})
        assert list(reply.json()) == ["name"]
    assert library.shows() == ["there/"]


def test_a_name_is_taken_once_in_a_folder(library: Library) -> None:
    one, two = library.make("one"), library.make("two")
    inner = library.make("one", one)
    root = f"/api/v3/folders/{library.root}/"
    for name in ("one", " one ", "on\x07e"):
        assert library.client.call("POST", root, 400, json={"name": name}).json() == TAKEN
        place = f"/api/v3/folders/{two}/"
        assert library.client.call("PATCH", place, 400, json={"name": name}).json() == TAKEN
    library.make("One")
    # A folder may keep its name, and take one that nobody has any more.
    for name in ("two", " two"):
        kept = library.client.call("PATCH", f"/api/v3/folders/{two}/", 200, json={"name": name})
        assert kept.json()["name"] == "two"
    renamed = library.client.call("PATCH", f"/api/v3/folders/{one}/", 200, json={"name": "first"})
    assert renamed.json()["id"] == one and renamed.json()["parentId"] is None
    library.client.call("PATCH", f"/api/v3/folders/{two}/", 200, json={"name": "one"})
    assert library.shows() == ["One/", "first/", "one/"]
    assert library.shows(one) == ["one/"]
    reply = library.client.call("PATCH", f"/api/v3/folders/{inner}/", 200, json={"name": "x"})
    assert reply.json()["parentId"] == one
    for body in ({}, {"name": None}, {"name": ["x"]}):
        library.client.call("POST", root, 400, json=body)
        library.client.call("PATCH", f"/api/v3/folders/{one}/", 400, json=body)


def test_folders_go_so_deep_and_no_deeper(library: Library) -> None:
    at = library.root
    for n in range(50):
        at = library.make(str(n), at)
    told = library.client.call("POST", f"/api/v3/folders/{at}/", 400, json={"name": "x"}).json()
    assert told == {"name": ["Folders go 50 deep at most."]}
    library.upload("x.txt", at)
    (top,) = library.client.get(f"/api/v3/folders/{library.root}/contents/")["results"]
    library.throw_away(folders=[top["item"]["id"]])
    assert library.count == 0 and len(library.trash(100)) == 51
    library.delete(folders=[top["item"]["id"]])
    assert library.trash() == []


def test_the_library_itself_stays(library: Library) -> None:
    for method, body in (("PATCH", {"name": "x"}), ("DELETE", None)):
        library.client.call(method, f"/api/v3/folders/{library.root}/", 403, json=body)
        library.client.call(method, f"/api/v3/folders/{library.jobs}/", 404, json=body)
    library.client.call("POST", f"/api/v3/folders/{library.jobs}/", 404, json={"name": "x"})


# --- files in folders -----------------------------------------------------------------------------


def test_pages_go_over_folders_and_then_files(library: Library) -> None:
    for n in range(4):
        library.make(f"folder {n}")
    for n in range(6):
        library.upload(f"file {n}")
    everything = [*(f"folder {n}/" for n in range(4)), *(f"file {n}" for n in reversed(range(6)))]
    for size in (1, 2, 3, 4, 5, 9, 10, 11):
        assert library.shows(size=size) == everything
    place = f"/api/v3/folders/{library.root}/contents/"
    assert library.client.get(f"{place}?page_size=4&page=4", 404) == {"detail": "Invalid page."}
    last = library.client.get(f"{place}?page_size=4&page=last")
    assert [entry["item"]["name"] for entry in last["results"]] == ["file 1", "file 0"]
    for n in range(20):
        library.upload(f"more {n}")
    page = library.client.get(place)
    assert (page["count"], len(page["results"])) == (30, 25)


def test_moving_files(library: Library) -> None:
    one, two = library.make("one"), library.make("two")
    file, other = library.upload("file"), library.upload("other")
    shown = library.client.get(f"files/{file}/")
    library.move(file, one)
    assert (library.shows(), library.shows(one)) == (["one/", "two/", "other"], ["file"])
    library.client.call("PATCH", f"files/{file}/", 200, json={"current_folder_id": two})
    assert (library.shows(one), library.shows(two)) == ([], ["file"])
    library.client.call("PATCH", f"files/{file}/", 200, json={"name": "renamed"})
    assert library.shows(two) == ["renamed"], "what is not sent stays"
    library.move(other, two)
    assert library.shows(two) == ["other", "renamed"]
    for back in (None, "", library.root):
        library.move(file, two)
        library.move(file, back)
        assert library.shows() == ["one/", "two/", "renamed"]
    assert library.client.get(f"files/{file}/")["dateUploaded"] == shown["dateUploaded"]
    assert library.count == 2


def test_outputs_stay_with_their_jobs(library: Library) -> None:
    folder = library.make("folder")
    job = library.client.run("true")
    (output,) = library.client.get(f"jobs/{job['id']}/files/")["results"]
    assert library.shows() == ["folder/"]
    body = {"currentFolderId": folder, "name": "x"}
    told = library.client.call("PATCH", f"files/{output['id']}/", 400, json=body).json()
    assert list(told) == ["currentFolderId"]
    assert library.client.get(f"files/{output['id']}/") == output
    library.move(output["id"], None)
    library.throw_away(folders=[folder])
    assert library.client.get(f"jobs/{job['id']}/files/")["count"] == 1


# --- the trash ------------------------------------------------------------------------------------


def test_there_and_back_again(library: Library) -> None:
    """A folder goes with all that is in it, and comes back with it."""
    cases = library.make("cases")
    inner = library.make("inner", cases)
    files = [library.upload(name, at) for name, at in (("a", cases), ("b", inner), ("c", ""))]
    assert library.count == 3
    library.client.call("DELETE", f"/api/v3/folders/{cases}/", 204)
    assert library.shows() == ["c"]
    assert library.trash() == ["cases/", "inner/", "b", "a"]
    assert library.count == 1
    for gone in (cases, inner):
        for method, place in (("GET", "contents/"), ("DELETE", ""), ("POST", "")):
            library.client.call(method, f"/api/v3/folders/{gone}/{place}", 404, json={"name": "x"})
        body = {"currentFolderId": gone}
        library.client.call("PATCH", f"files/{files[2]}/", 400, json=body)
    for gone in files[:2]:
        for method, place in (("GET", ""), ("GET", "contents/"), ("PATCH", ""), ("GET", "lines/")):
            library.client.call(method, f"files/{gone}/{place}", 404, json={})
    assert library.client.get("files/?search=a")["count"] == 0
    assert library.client.get("files/?type_id=1")["count"] == 1
    for _ in range(2):
        library.recover(folders=[cases])
        assert (library.shows(), library.shows(cases)) == (["cases/", "c"], ["inner/", "a"])
        assert (library.shows(inner), library.trash(), library.count) == (["b"], [], 3)
    reply = library.client.call("GET", f"files/{files[1]}/contents/", 200)
    assert reply.content == b"b"


def test_a_file_brings_its_folders_back(library: Library) -> None:
    outer = library.make("outer")
    inner = library.make("inner", outer)
    library.make("other", outer)
    one, two = library.upload("one", inner), library.upload("two", inner)
    library.throw_away(folders=[outer], files=[two])
    assert library.count == 0
    library.recover(files=[one])
    assert library.shows() == ["outer/"]
    assert (library.shows(outer), library.shows(inner)) == (["inner/"], ["one"])
    assert sorted(library.trash()) == ["other/", "two"]
    assert library.count == 1
    # A folder brings back those above it too.
    library.throw_away(folders=[outer])
    library.recover(folders=[inner])
    assert (library.shows(outer), library.shows(inner)) == (["inner/"], ["two", "one"])
    assert (library.trash(), library.count) == (["other/"], 2)
    assert two


def test_deleting_for_good(library: Library) -> None:
    cases = library.make("cases")
    inner = library.make("inner", cases)
    files = [library.upload(name, inner) for name in ("a", "b")]
    alone = library.upload("alone")
    told = {"detail": "Only what is in the trash can be deleted from it."}
    for body in ({"folderIds": [cases]}, {"fileIds": [alone]}, {"fileIds": files}):
        assert library.client.call("POST", DELETE, 400, json=body).json() == told
    library.throw_away(files=[alone, files[0]])
    mixed = {"filesymlink_ids": [alone], "folderIds": [inner]}
    assert library.client.call("POST", DELETE, 400, json=mixed).json() == told
    assert (library.trash(), library.count) == (["alone", "a"], 1), "all of it or nothing"
    library.throw_away(folders=[cases])
    library.delete(folders=[cases], files=[alone])
    assert (library.trash(), library.shows(), library.count) == ([], [], 0)
    for place in (f"folders/{cases}/contents/", f"folders/{inner}/contents/"):
        library.client.get(f"/api/v3/{place}", 404)
    for body in ({"folderIds": [cases]}, {"filesymlink_ids": [alone]}, {"fileIds": files}):
        for place in (RECOVER, DELETE):
            library.client.call("POST", place, 404, json=body)
    library.make("cases")


def test_a_file_is_deleted_for_good_by_its_own_route(library: Library) -> None:
    file = library.upload("file")
    library.throw_away(files=[file])
    library.client.call("DELETE", f"files/{file}/", 204)
    assert (library.trash(), library.count) == ([], 0)
    library.client.call("DELETE", f"files/{file}/", 404)


def test_all_at_once_or_nothing(library: Library) -> None:
    keep, needed = library.upload("keep"), library.upload("needed")
    folder = library.make("folder")
    library.move(needed, folder)
    first = library.client.create("sleep 600", cores=4)["id"]
    job = library.client.create(cores=4, inputs=[needed])["id"]
    library.client.submit(first)
    library.client.submit(job)
    archive = f"/api/v3/folders/{library.root}/contents/archive/"
    for body in (
        {"fileIds": [keep, "XXXXXX"]},
        {"fileIds": [keep], "folderIds": ["XXXXXXX"]},
        {"fileIds": [keep], "folderIds": [library.root]},
    ):
        library.client.call("POST", archive, 404, json=body)
    for body in ({"fileIds": [keep, needed]}, {"fileIds": [keep], "folderIds": [folder]}):
        reply = library.client.call("POST", archive, 400, json=body)
        assert f"is an input of job {job}" in reply.json()["detail"]
    assert (library.trash(), library.shows()) == ([], ["folder/", "keep"])
    assert library.client.get("files/?type_id=1")["count"] == 2
    for one in (job, first):
        library.client.call("POST", f"jobs/{one}/stop/", 202)
        library.client.finished(one)


@pytest.mark.parametrize(
    "body", [{"fileIds": "x"}, {"folderIds": {"a": 1}}, {"filesymlink_ids": [["x"]]}, [1]]
)
def test_what_is_no_choice(library: Library, body: Any) -> None:
    archive = f"/api/v3/folders/{library.root}/contents/archive/"
    for place in (archive, RECOVER, DELETE):
        library.client.call("POST", place, 400, json=body)


def test_an_input_in_the_trash(library: Library) -> None:
    """A job goes on naming it and cannot run; recovered it is as if nothing had been."""
    file = library.upload("in.txt")
    job = library.client.create("cat in.txt", inputs=[file])
    library.throw_away(files=[file])

    def shown() -> Any:
        (analysis,) = library.client.get(f"jobs/{job['id']}/")["jobanalyses"]
        return analysis["inputFiles"][0]

    assert shown()["isDeleted"] is True
    told = library.client.call("POST", f"jobs/{job['id']}/submit/", 400).json()
    assert file in json.dumps(told)
    library.recover(files=[file])
    assert shown()["isDeleted"] is False
    library.throw_away(files=[file])
    library.delete(files=[file])
    assert shown()["isDeleted"] is True and library.trash() == []
    library.client.call("POST", RECOVER, 404, json={"fileIds": [file]})


def test_outputs_in_the_trash(library: Library) -> None:
    """Counts, sizes and lists of run, job and owner follow, there and back."""
    client = library.client
    job = client.run("for n in 1 2 3 4; do printf %0${n}d 0 > $n.txt; done")
    place = f"jobs/{job['id']}/"

    def books() -> list[Any]:
        run = client.get(f"{place}runs/1/")
        lists = [client.get(f"{place}{name}?page_size=100") for name in ("files/", "runs/1/files/")]
        assert lists[0]["results"] == lists[1]["results"]
        names = [file["name"] for file in lists[0]["results"]]
        assert [page["count"] for page in lists] == [len(names)] * 2
        assert run["outputFileCount"] == library.count == len(names)
        storage = client.get("jobs/")["results"][0]["storage"]
        assert storage == run["outputFileSize"]
        return [names, storage]

    whole = books()
    assert whole == [["1.txt", "2.txt", "3.txt", "4.txt", "process_output.log"], 10]
    ids = {f["name"]: f["id"] for f in client.get(f"{place}files/")["results"]}
    library.throw_away(files=[ids["2.txt"], ids["4.txt"]])
    assert books() == [["1.txt", "3.txt", "process_output.log"], 4]
    assert client.get(f"{place}files/?search=.txt")["count"] == 2
    assert client.get(f"{place}runs/1/files/?search=.txt")["count"] == 2
    assert library.trash() == ["4.txt", "2.txt"]
    library.recover(files=[ids["2.txt"]])
    assert books() == [["1.txt", "2.txt", "3.txt", "process_output.log"], 6]
    library.throw_away(files=[ids["2.txt"]])
    library.delete(files=[ids["2.txt"], ids["4.txt"]])
    assert books() == [["1.txt", "3.txt", "process_output.log"], 4]
    # What is left goes with the job, in the trash or not.
    library.throw_away(files=[ids["1.txt"]])
    upload = library.upload("upload")
    client.call("DELETE", place, 204)
    assert (library.trash(), library.count) == ([], 1)
    client.get(f"files/{ids['1.txt']}/", 404)
    client.get(f"files/{upload}/")


def test_somebody_elses_folders_and_files(library: Library, server: RunningServer) -> None:
    other = Library(server.somebody())
    folder, file, thrown = library.make("folder"), library.upload("file"), library.upload("thrown")
    library.throw_away(files=[thrown])
    call = other.client.call
    for place in (folder, library.root, library.jobs, "XXXXXXX"):
        call("GET", f"/api/v3/folders/{place}/contents/", 404)
        call("POST", f"/api/v3/folders/{place}/", 404, json={"name": "x"})
        call("PATCH", f"/api/v3/folders/{place}/", 404, json={"name": "x"})
        call("DELETE", f"/api/v3/folders/{place}/", 404)
        call("POST", f"/api/v3/folders/{place}/contents/archive/", 404, json={"fileIds": []})
    mine = other.upload("mine")
    call("PATCH", f"files/{mine}/", 400, json={"currentFolderId": folder})
    archive = f"/api/v3/folders/{other.root}/contents/archive/"
    for place in (archive, RECOVER, DELETE):
        for body in ({"fileIds": [file]}, {"folderIds": [folder]}, {"fileIds": [mine, thrown]}):
            call("POST", place, 404, json=body)
    assert other.shows() == ["mine"] and other.trash() == []
    assert (library.shows(), library.trash()) == (["folder/", "file"], ["thrown"])
    # Also where one sees the file: it was shared with him, not his library.
    email = other.client.get("users/me/")["email"]
    job = library.client.create(inputs=[file])["id"]
    library.client.call("POST", f"jobs/{job}/share/", 200, json={"email": email})
    other.client.get(f"files/{file}/")
    call("POST", archive, 404, json={"fileIds": [file]})
    library.client.get(f"files/{file}/")
