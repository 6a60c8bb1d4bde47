"""Sessions of browsers, over HTTP: what opens one, what it opens, and what ends it."""

import contextlib
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import httpx
import pytest

import contract
from harness import CONFIG, SIMYARD, Client, RunningServer, definition, wait_for
from simyard.console.pages import DIST, is_built

Fresh = Callable[..., RunningServer]
FORTNIGHT = 14 * 24 * 3600
BODY = definition()


class Browser:
    """A page of the server at this address, and the cookies that its browser keeps."""

    opened: ClassVar[list[httpx.Client]] = []

    def __init__(self, address: str, **headers: str) -> None:
        self.address = address
        self.http = httpx.Client(
            base_url=f"{address}/api/v2/",
            headers={"X-Simyard": "1", "Origin": address, **headers},
            timeout=30,
        )
        self.opened.append(self.http)

    def call(self, method: str, path: str, expect: int, **options: Any) -> httpx.Response:
        reply = self.http.request(method, path, **options)
        contract.hold(reply)
        assert reply.status_code == expect, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply

    def log_in(self, expect: int = 200, **body: Any) -> httpx.Response:
        return self.call("POST", "session/", expect, json=body)

    @property
    def cookie(self) -> tuple[str, str]:
        ((name, token),) = self.http.cookies.items()
        return name, token


@pytest.fixture(autouse=True)
def close_browsers() -> Iterator[None]:
    yield
    while Browser.opened:
        Browser.opened.pop().close()


@pytest.fixture
def browser(server: RunningServer, client: Client) -> Browser:
    """With a session of the client's."""
    made = Browser(server.address)
    made.log_in(key=client.key)
    return made


def link(server: RunningServer, email: str = "ada@lab.example") -> str:
    command = [*SIMYARD, "keys", "link", "--data", str(server.data), "--email", email]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.fullmatch(rf"{re.escape(server.address)}/login#t=([0-9a-f]{{40}})\n", done.stdout)
    assert found, done.stdout
    return found[1]


# --- what opens one -------------------------------------------------------------------------------


def test_a_key_opens_one(server: RunningServer, client: Client) -> None:
    browser = Browser(server.address)
    reply = browser.log_in(key=f" {client.key}\n")
    told = reply.json()
    assert told["user"].keys() == {"email", "fullName", "role", "code"}
    assert (told["user"]["email"], told["user"]["role"]) == ("ada@lab.example", "member")
    assert browser.call("GET", "session/", 200).json() == told
    name, token = browser.cookie
    assert re.fullmatch("simyard-[0-9a-f]{12}", name) and re.fullmatch("[0-9a-f]{40}", token)
    found = re.fullmatch(
        rf"{name}={token}; HttpOnly; Max-Age=(\d+); Path=/; SameSite=strict",
        reply.headers["set-cookie"],
    )
    assert found and FORTNIGHT - 60 < int(found[1]) <= FORTNIGHT
    assert browser.call("GET", "users/me/", 200).json()["email"] == "ada@lab.example"
    job = browser.call("POST", "jobs/", 201, json=BODY).json()["id"]
    browser.call("DELETE", f"jobs/{job}/", 204)


def test_what_is_kept_of_it_opens_nothing(server: RunningServer, browser: Browser) -> None:
    token = browser.cookie[1].encode()
    for path in server.data.glob("simyard.db*"):
        assert token not in path.read_bytes() and bytes.fromhex(token.decode()) not in (
            path.read_bytes()
        )
    server.client(token.decode()).call("GET", "users/me/", 401)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"key": "f" * 40}, "key"),
        ({"key": "ü\u0000" * 20}, "key"),
        ({"link": "f" * 40}, "link"),
        ({}, "key"),
        ({"key": "", "link": " "}, "key"),
        ({"key": "a", "link": "b"}, "key"),
        ({"key": ["a"]}, "key"),
        ({"email": "ada@lab.example", "password": "secret"}, "password"),
    ],
)
def test_what_opens_none(server: RunningServer, body: dict[str, Any], problem: str) -> None:
    browser = Browser(server.address)
    reply = browser.log_in(400, **body)
    assert list(reply.json()) == [problem] and "set-cookie" not in reply.headers
    browser.call("GET", "session/", 401)


def test_what_opens_none_leaves_nothing(server: RunningServer) -> None:
    tables = "users", "api_keys", "sessions", "login_links", "tasks", "idempotency"
    counts = f"SELECT {', '.join(f'(SELECT count(*) FROM {table})' for table in tables)}"
    browser = Browser(server.address)
    with contextlib.closing(sqlite3.connect(server.data / "simyard.db")) as database:
        before = database.execute(counts).fetchone()
        for n in range(20):
            browser.log_in(400, key=f"{n:040x}")
            browser.log_in(400, link=f"{n:040x}")
        assert database.execute(counts).fetchone() == before


def test_a_body_of_a_stranger_is_small(server: RunningServer) -> None:
    Browser(server.address).log_in(413, key="a" * 100_000)


def test_the_key_of_a_run_opens_none(server: RunningServer, client: Client) -> None:
    job = client.create('echo "key $RESCALE_API_KEY"; sleep 600')["id"]
    client.submit(job)
    tail = f"jobs/{job}/runs/1/tail/process_output.log"

    def said() -> re.Match[str] | None:
        return re.search("key ([0-9a-f]{64})", client.http.get(tail).text)

    wait_for(lambda: said() is not None, "the run's key")
    found = said()
    assert found and server.client(found[1]).get("users/me/")["email"] == "ada@lab.example"
    Browser(server.address).log_in(403, key=found[1])
    client.call("POST", f"jobs/{job}/stop/", 202)


def test_a_read_only_member_has_one_that_only_reads(server: RunningServer) -> None:
    browser = Browser(server.address)
    assert (
        browser.log_in(key=server.somebody(role="read-only").key).json()["user"]["role"]
        == "read-only"
    )
    browser.call("GET", "jobs/", 200)
    browser.call("POST", "jobs/", 403, json=BODY)


def test_logging_in_anew_ends_the_old_one(server: RunningServer, browser: Browser) -> None:
    other = Browser(server.address)
    other.http.cookies.set(*browser.cookie)
    bob = server.somebody("bob")
    assert browser.log_in(key=bob.key).json()["user"]["email"].startswith("bob-")
    other.call("GET", "session/", 401)


# --- links ----------------------------------------------------------------------------------------


def test_a_link_opens_one_once(server: RunningServer, client: Client) -> None:
    token = link(server)
    browser = Browser(server.address)
    assert browser.log_in(link=token).json()["user"]["email"] == "ada@lab.example"
    Browser(server.address).log_in(400, link=token)
    browser.call("GET", "jobs/", 200)
    server.client(token).call("GET", "users/me/", 401)


def test_a_link_is_too_old_after_a_while(server: RunningServer, client: Client) -> None:
    token = link(server)
    server.change_database("UPDATE login_links SET expires_at = created_at")
    reply = Browser(server.address).log_in(400, link=token)
    assert "used before or is too old" in reply.json()["link"][0]


def test_links_are_for_members_of_servers_that_run(fresh: Fresh) -> None:
    def refused(server: RunningServer, email: str) -> str:
        command = [*SIMYARD, "keys", "link", "--data", str(server.data), "--email", email]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    server = fresh()
    assert refused(server, "admin@localhost") == (
        f"error: no server is using the data folder {server.data}\n"
        "hint: start it first: simyard serve\n"
    )
    server.start()
    # At the first start, and only then, there is one for the administrator.
    shown = re.findall(rf"{re.escape(server.address)}/login#t=([0-9a-f]{{40}})\n", server.log())
    assert len(shown) == (1 if is_built(DIST) else 0)
    for token in shown:
        told = Browser(server.address).log_in(link=token).json()
        assert told["user"]["email"] == "admin@localhost"
    assert refused(server, "nobody@lab.example") == (
        "error: Nobody here has the address nobody@lab.example.\n"
    )
    server.stop()
    assert "no server is using" in refused(server, "admin@localhost")
    server.start()
    assert server.log().count("/login#t=") == len(shown)


# --- whose page a request comes from --------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Simyard": ""},
        {"X-Simyard": "0"},
        {"Origin": ""},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},  # another port of this host: the same site
        {"Origin": "https://{host}"},
        {"Origin": "http://{host}/"},
        {"Origin": "http://{host}.evil.example"},
        {"Origin": "http://evil.example", "Referer": "http://{host}/"},
        {"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"},
        {"Origin": "http://{host}, http://evil.example"},
    ],
    ids=str,
)
def test_a_page_of_somebody_else_changes_nothing(
    browser: Browser, method: str, headers: dict[str, str]
) -> None:
    host = browser.address.removeprefix("http://")
    sent = {name: value.format(host=host) for name, value in headers.items()}
    reply = browser.http.request(method, "jobs/nosuch/", headers=sent)
    assert reply.status_code == 403
    assert ("X-Simyard: 1" if "X-Simyard" in headers else "page of") in reply.json()["detail"]
    assert "evil" not in reply.text
    assert browser.http.get("jobs/", headers=sent).status_code == 200


def test_a_page_of_somebody_else_logs_nobody_in_or_out(
    server: RunningServer, client: Client
) -> None:
    evil = Browser(server.address, Origin="http://evil.example")
    evil.log_in(403, key=client.key)
    unmarked = Browser(server.address, **{"X-Simyard": "2"})
    unmarked.log_in(403, key=client.key)
    browser = Browser(server.address)
    browser.log_in(key=client.key)
    evil.http.cookies.set(*browser.cookie)
    evil.call("DELETE", "session/", 403)
    browser.call("GET", "session/", 200)
    script = httpx.post(
        f"{server.address}/api/v2/session/", headers={"X-Simyard": "1"}, json={"key": client.key}
    )
    assert script.status_code == 200  # no page at all


def test_a_key_in_a_header_needs_no_page_and_wins(
    server: RunningServer, browser: Browser, stranger: Client
) -> None:
    name, token = browser.cookie
    headers = {"Cookie": f"{name}={token}", "Authorization": f"Token {stranger.key}"}
    me = httpx.get(f"{server.address}/api/v2/users/me/", headers=headers)
    assert me.json()["email"] == "eve@elsewhere.example"
    made = httpx.post(f"{server.address}/api/v2/jobs/", headers=headers, json=BODY)
    assert made.status_code == 201
    for bad in (f"Token {'f' * 40}", "Basic YTpi", "Token", ""):
        headers["Authorization"] = bad
        reply = httpx.get(f"{server.address}/api/v2/users/me/", headers=headers)
        assert reply.status_code == 401


@pytest.mark.parametrize(
    "cookie",
    [
        "{name}=",
        "{name}",
        "={token}",
        "{name}={token}x",
        '{name}="{token}"',
        "{name}=é; {name}={token}",
        "x{name}={token}",
        "{name}=" + "f" * 60_000,
        ";;;=;,{name}={token}",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_cookie_of_ours_opens_nothing(browser: Browser, cookie: str) -> None:
    name, token = browser.cookie
    sent = cookie.format(name=name, token=token).encode("latin-1")
    for path in ("users/me/", "session/"):
        reply = httpx.get(f"{browser.address}/api/v2/{path}", headers={b"Cookie": sent})
        assert reply.status_code == 401
        assert token not in reply.text
    among = f"a=1; b = 2;{name}={token} ;c".encode()
    assert httpx.get(f"{browser.address}/api/v2/jobs/", headers={b"Cookie": among}).is_success


# --- what ends one --------------------------------------------------------------------------------


def test_what_a_cookie_opens_is_kept_out_of_shared_caches(client: Client, browser: Browser) -> None:
    assert browser.call("GET", "jobs/", 200).headers["Cache-Control"] == "private"
    assert "Cache-Control" not in client.call("GET", "jobs/", 200).headers  # the header says so


def test_logging_out(server: RunningServer, browser: Browser) -> None:
    kept = browser.cookie
    reply = browser.call("DELETE", "session/", 204)
    assert reply.headers["set-cookie"] == (
        f'{kept[0]}=""; HttpOnly; Max-Age=0; Path=/; SameSite=strict'
    )
    assert not browser.http.cookies
    browser.call("DELETE", "session/", 204)
    browser.http.cookies.set(*kept)
    browser.call("GET", "session/", 401)
    assert browser.call("GET", "jobs/", 401).json() == {
        "detail": "There is no session, or it is over."
    }
    browser.call("DELETE", "session/", 204)


def test_a_revoked_key_ends_its_sessions(server: RunningServer) -> None:
    ann = server.somebody("ann")
    made = ann.call("POST", "keys/", 201, json={"label": "browser"}).json()
    browser, other = Browser(server.address), Browser(server.address)
    browser.log_in(key=made["key"])
    other.log_in(key=ann.key)
    browser.call("DELETE", f"keys/{made['id']}/", 204)
    browser.call("GET", "jobs/", 401)
    browser.call("GET", "session/", 401)
    other.call("GET", "jobs/", 200)


def test_it_ends_with_its_key_and_in_time(server: RunningServer) -> None:
    zoe = server.somebody("zoe")
    made = zoe.call("POST", "keys/", 201, json={"expiresInDays": 1}).json()
    short, long = Browser(server.address), Browser(server.address)
    reply = short.log_in(key=made["key"])
    assert reply.json()["expiresAt"] == made["dateExpires"]
    found = re.search(r"Max-Age=(\d+);", reply.headers["set-cookie"])
    assert found and int(found[1]) <= 24 * 3600
    long.log_in(key=zoe.key)
    past = "expires_at = created_at WHERE expires_at IS NOT NULL AND user_id ="
    whose = "(SELECT id FROM users WHERE email LIKE 'zoe-%')"
    server.change_database(f"UPDATE api_keys SET {past} {whose}")
    wait_for(lambda: short.http.get("jobs/").status_code == 401, "the end of the key", 10)
    long.call("GET", "jobs/", 200)
    server.change_database(f"UPDATE sessions SET {past} {whose}")
    wait_for(lambda: long.http.get("jobs/").status_code == 401, "the end of the session", 10)


def test_who_leaves_has_none(server: RunningServer) -> None:
    tim = server.somebody("tim")
    browser = Browser(server.address)
    browser.log_in(key=tim.key)
    admin = server.client((server.data / "admin.key").read_text().strip())
    code = browser.call("GET", "session/", 200).json()["user"]["code"]
    admin.call("PATCH", f"members/{code}/", 200, json={"isActive": False})
    browser.call("GET", "jobs/", 401)
    admin.call("PATCH", f"members/{code}/", 200, json={"isActive": True})
    browser.call("GET", "jobs/", 401)


def test_a_restart_keeps_it(fresh: Fresh) -> None:
    server = fresh().start()
    browser = Browser(server.address)
    told = browser.log_in(key=server.client().key).json()
    server.kill()
    server.start()
    assert browser.call("GET", "session/", 200).json() == told
    browser.call("POST", "jobs/", 201, json=BODY)


# --- several addresses ----------------------------------------------------------------------------


def test_two_servers_on_one_host(server: RunningServer, browser: Browser, fresh: Fresh) -> None:
    """Cookies know no ports: both servers get both."""
    other = fresh().start()
    neighbour = Browser(other.address)
    neighbour.http.cookies = browser.http.cookies
    neighbour.call("GET", "session/", 401)
    neighbour.log_in(key=other.client().key)
    assert len(neighbour.http.cookies) == 2
    browser.http.cookies = neighbour.http.cookies
    for each in (browser, neighbour):
        each.call("POST", "jobs/", 201, json=BODY)
    browser.call("DELETE", "session/", 204)
    neighbour.call("GET", "session/", 200)


TOLD = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "jobs.example.org",
    "X-Forwarded-Prefix": "/tools/sim",
}


def set_cookie(address: str, key: str, headers: dict[str, str]) -> str:
    """What a login from there is answered with; "" where it is refused."""
    reply = httpx.post(
        f"{address}/api/v2/session/", headers={"X-Simyard": "1", **headers}, json={"key": key}
    )
    assert reply.status_code in (200, 403)
    return re.sub(r"=[0-9a-f]{40}|=\d+", "", reply.headers.get("set-cookie", ""))


def test_behind_a_proxy_that_is_trusted(fresh: Fresh) -> None:
    server = fresh('trusted_proxies = ["127.0.0.1"]').start()
    key = server.client().key
    good = {**TOLD, "Origin": "https://jobs.example.org"}
    shown = set_cookie(server.address, key, good)
    assert re.sub("^simyard-[0-9a-f]{12}", "N", shown) == (
        "N; HttpOnly; Max-Age; Path=/tools/sim; SameSite=strict; Secure"
    )
    assert not set_cookie(server.address, key, {**TOLD, "Origin": server.address})
    assert not set_cookie(server.address, key, {**TOLD, "Origin": "http://jobs.example.org"})
    with_port = {**good, "X-Forwarded-Port": "8443"}
    assert not set_cookie(server.address, key, with_port)
    assert set_cookie(server.address, key, {**with_port, "Origin": f"{good['Origin']}:8443"})
    # A page of somebody else may name whatever it likes.
    for host in ("evil.example", "jobs.example.org@evil.example", 'a"b', "é"):
        told = {**TOLD, "X-Forwarded-Host": host, "Host": "h", "Origin": "https://jobs.example.org"}
        sent = {name: value.encode("latin-1") for name, value in told.items()}
        assert not set_cookie(server.address, key, sent)  # type: ignore[arg-type]


def test_whom_nobody_trusts_names_nothing(server: RunningServer, client: Client) -> None:
    assert not set_cookie(
        server.address, client.key, {**TOLD, "Origin": "https://jobs.example.org"}
    )
    shown = set_cookie(server.address, client.key, {**TOLD, "Origin": server.address})
    assert shown.endswith("; HttpOnly; Max-Age; Path=/; SameSite=strict")


def test_the_public_address_and_the_one_that_was_used(fresh: Fresh) -> None:
    server = fresh('public_url = "https://Jobs.example.org:443/sim/"').start()
    key = server.client().key
    assert set_cookie(server.address, key, {"Origin": "https://jobs.example.org"}).endswith(
        "; Path=/sim; SameSite=strict; Secure"
    )
    assert set_cookie(server.address, key, {"Origin": server.address}).endswith(
        "; Path=/; SameSite=strict"
    )
    assert not set_cookie(server.address, key, {"Origin": "http://jobs.example.org"})
    command = [*SIMYARD, "keys", "link", "--data", str(server.data), "--email", "admin@localhost"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("https://Jobs.example.org:443/sim/login#t=")


@pytest.mark.parametrize("config", ["", 'trusted_proxies = ["127.0.0.1"]\n'])
def test_any_host_is_its_own_page_only(fresh: Fresh, config: str) -> None:
    """By whatever name it is reached; a name that was made to lead here has cookies of its own."""
    server = fresh(CONFIG + config).start()
    key = server.client().key
    for host in ("simyard.lan:80", "SIMYARD.lan", "[::1]:8420", "a_b"):
        own = f"http://{host.lower().removesuffix(':80')}"
        assert set_cookie(server.address, key, {"Host": host, "Origin": own})
        assert not set_cookie(server.address, key, {"Host": host, "Origin": "http://evil.example"})
