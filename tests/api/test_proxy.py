"""Links behind a reverse proxy: a real one stands between, which takes a prefix away."""

import http.client
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from harness import Client, RunningServer, ServerDied
from proxying import Proxy

Fresh = Callable[..., RunningServer]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that trusts proxies on 127.0.0.1, not those on 127.0.0.2."""
    data = tmp_path_factory.mktemp("proxy") / "data"
    running = RunningServer(data, 'trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]\n').start()
    yield running
    assert running.alive, running.log()
    running.end_everything()
    assert "Traceback" not in running.log(), running.log()


@pytest.fixture(scope="module")
def key(behind: RunningServer) -> str:
    return behind.key()


def links(page: object) -> Iterator[str]:
    """Every absolute link in a reply."""
    if isinstance(page, dict):
        for value in page.values():
            yield from links(value)
    elif isinstance(page, list):
        for value in page:
            yield from links(value)
    elif isinstance(page, str) and page.startswith(("http://", "https://")):
        yield page


# --- through a real one ---------------------------------------------------------------------------


def test_links_are_fetched_as_they_stand_through_a_proxy(behind: RunningServer, key: str) -> None:
    proxy = Proxy(behind.address)
    base = f"http://localhost:{proxy.port}/sim"
    try:
        with httpx.Client(headers={"Authorization": f"Token {key}"}, timeout=30) as http:
            for number in range(5):
                files = {"file": (f"{number}.txt", f"content {number}".encode())}
                reply = http.post(f"{base}/api/v2/files/contents/", files=files)
                assert reply.status_code == 201
                assert reply.json()["downloadUrl"].startswith(f"{base}/api/v2/files/")
            url: str | None = f"{base}/api/v2/files?page_size=2&search=.txt"
            found, walked = {}, []
            while url:
                page = http.get(url).json()
                for file in page["results"]:
                    found[file["name"]] = http.get(file["downloadUrl"]).content
                walked.append((page["previous"], url))
                url = page["next"]
            assert found == {f"{n}.txt": f"content {n}".encode() for n in range(5)}
            assert len(walked) == 3 and all(url.startswith(f"{base}/") for _, url in walked)
            assert http.get(walked[2][0] or "").json()["count"] == 5
            analyses = http.get(f"{base}/api/v2/analyses/").json()
            for analysis in analyses["results"]:
                assert analysis["thumbnail"].startswith(f"{base}/static/")
                assert http.get(analysis["thumbnail"]).status_code == 200
    finally:
        proxy.close()


# --- what is believed, and whose word -------------------------------------------------------------


def next_of(server: RunningServer, key: str, source: str, headers: dict[str, str]) -> str:
    """The link to the second page of core types, for a request that comes from `source`."""
    address = urlsplit(server.address)
    assert address.hostname and address.port
    connection = http.client.HTTPConnection(
        address.hostname, address.port, timeout=30, source_address=(source, 0)
    )
    connection.putrequest("GET", "/api/v2/coretypes/?page_size=1", skip_host="Host" in headers)
    for name, value in {"Authorization": f"Token {key}", **headers}.items():
        connection.putheader(name, value.encode("latin-1"))
    connection.endheaders()
    reply = connection.getresponse()
    page = httpx.Response(reply.status, content=reply.read()).json()
    connection.close()
    assert reply.status == 200
    return str(page["next"])


REST = "/api/v2/coretypes/?page_size=1&page=2"
TOLD = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "jobs.example.org",
    "X-Forwarded-Port": "8443",
    "X-Forwarded-Prefix": "/sim",
    "Forwarded": "host=other.example;proto=http",
}


def test_by_the_address_of_the_peer(behind: RunningServer, key: str) -> None:
    assert next_of(behind, key, "127.0.0.1", TOLD) == f"https://jobs.example.org:8443/sim{REST}"
    assert next_of(behind, key, "127.0.0.2", TOLD) == f"{behind.address}{REST}"


def test_by_default_nobody_is_believed(server: RunningServer, client: Client) -> None:
    assert next_of(server, client.key, "127.0.0.1", TOLD) == f"{server.address}{REST}"


@pytest.mark.parametrize(
    "host", ['evil"@x', "a b", "user@evil.example", "evil.example/path", "é", "[", "a" * 10_000, ""]
)
def test_what_no_host_can_be_is_not_repeated(behind: RunningServer, key: str, host: str) -> None:
    assert next_of(behind, key, "127.0.0.2", {"Host": host}) == f"{behind.address}{REST}"
    told = {"Host": host, "X-Forwarded-Host": host, "X-Forwarded-Prefix": host}
    assert next_of(behind, key, "127.0.0.1", told) == f"{behind.address}{REST}"
    told["X-Forwarded-Proto"] = told["X-Forwarded-Port"] = host
    assert next_of(behind, key, "127.0.0.1", told) == f"{behind.address}{REST}"


def test_a_path_is_encoded_again(behind: RunningServer, key: str) -> None:
    """What was sent as %22 must not come back as a quotation mark."""
    headers = {"Authorization": f"Token {key}", "Host": "h"}
    for path in ("/api/v2/no%22such%3Fpath%23/", "/api/v2/jobs/%0d%0aX/statuses/"):
        assert httpx.get(behind.address + path, headers=headers).status_code == 404
    raw = "x=%22%3C&y=%C3%BC&z="
    url = f"{behind.address}/api/v2/coretypes?page_size=1&{raw}"
    assert httpx.get(url, headers=headers).json()["next"] == (
        f"http://h/api/v2/coretypes?page_size=1&{raw}&page=2"
    )


def test_the_public_address_wins_over_all(fresh: Fresh) -> None:
    config = 'public_url = "https://jobs.example.org/simyard/"\ntrusted_proxies = ["127.0.0.1"]'
    server = fresh(config).start()
    client = server.client()
    link = next_of(server, client.key, "127.0.0.1", {**TOLD, "X-Forwarded-Host": "b.example"})
    assert link == f"https://jobs.example.org/simyard{REST}"
    assert all(
        link.startswith("https://jobs.example.org/simyard/static/")
        for link in links(client.get("analyses/")["results"])
        if "/static/" in link
    )


# --- the setting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["proxy.example.org", "10.0.0.1/8", "10.0.0.0/33", "::1/129", "*"])
def test_what_is_no_network_stops_the_start(fresh: Fresh, bad: str) -> None:
    server = fresh(f'trusted_proxies = ["127.0.0.1", "{bad}"]')
    with pytest.raises(ServerDied) as caught:
        server.start()
    said = str(caught.value)
    assert "trusted_proxies: " in said and bad in said and "Traceback" not in said
    assert server.process is not None and server.process.returncode == 1
    assert not (server.data / "simyard.db").exists()
