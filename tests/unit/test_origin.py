"""What absolute links begin with: which headers are believed, and what is passed over."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.api.origin import origin, parts

PROXY = "10.1.2.3"
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
SOCKET = "http://192.0.2.1:8420"


def seen(
    peer: str | None = PROXY, server: tuple[str, int] = ("192.0.2.1", 8420), **headers: str | None
) -> str:
    scope: dict[str, Any] = {
        "scheme": "http",
        "client": peer and (peer, 40_000),
        "server": server,
        "headers": [
            (name.replace("_", "-").encode(), value.encode("latin-1"))
            for name, value in headers.items()
            if value is not None
        ],
    }
    return origin(scope, TRUSTED)


def forwarded(own_host: str = "inner:1", peer: str | None = PROXY, **headers: str) -> str:
    """With a Host header of its own and X-Forwarded ones as given."""
    told = {f"x_forwarded_{name}": value for name, value in headers.items()}
    return seen(peer, host=own_host, **told)


# --- what a proxy is believed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "http://inner:1"),
        ({"proto": "https"}, "https://inner:1"),
        ({"proto": "HTTPS"}, "https://inner:1"),
        ({"proto": "https, http"}, "https://inner:1"),
        ({"host": "jobs.example.org"}, "http://jobs.example.org"),
        ({"host": "jobs.example.org:8443"}, "http://jobs.example.org:8443"),
        ({"host": "a.example, b.example"}, "http://a.example"),
        ({"host": "[2001:db8::1]:81"}, "http://[2001:db8::1]:81"),
        ({"host": "my_service"}, "http://my_service"),
        ({"host": "a.example", "port": "8443"}, "http://a.example:8443"),
        ({"host": "[::1]", "port": "8443"}, "http://[::1]:8443"),
        ({"host": "a.example", "port": "80"}, "http://a.example"),
        ({"host": "a.example", "port": "443"}, "http://a.example:443"),
        ({"host": "a.example", "port": "443", "proto": "https"}, "https://a.example"),
        ({"host": "a.example", "port": "080"}, "http://a.example"),
        ({"host": "a.example:8443", "port": "443"}, "http://a.example:8443"),
        ({"port": "8443"}, "http://inner:1"),
        ({"prefix": "/sim"}, "http://inner:1/sim"),
        ({"prefix": "/sim/"}, "http://inner:1/sim"),
        ({"prefix": "/a/b-c/d_e/~f"}, "http://inner:1/a/b-c/d_e/~f"),
        ({"prefix": "/"}, "http://inner:1"),
        ({"prefix": "/a, /b"}, "http://inner:1/a"),
        (
            {"proto": "https", "host": "a.example", "port": "9", "prefix": "/s"},
            "https://a.example:9/s",
        ),
    ],
)
def test_a_trusted_proxy_is_believed(headers: dict[str, str], expected: str) -> None:
    assert forwarded(**headers) == expected


def test_a_host_without_a_port_takes_the_one_that_is_told() -> None:
    assert forwarded("a.example", port="8443") == "http://a.example:8443"


ALL = {"proto": "https", "host": "a.example", "port": "9", "prefix": "/s"}


@pytest.mark.parametrize("peer", ["10.255.0.1", "fd12::1", "::ffff:10.0.0.1"])
def test_who_is_trusted(peer: str) -> None:
    assert forwarded(peer=peer, **ALL) == "https://a.example:9/s"


@pytest.mark.parametrize("peer", ["11.0.0.1", "127.0.0.1", "::ffff:11.0.0.1", "fe80::1", "x", None])
def test_nobody_else_is(peer: str | None) -> None:
    assert forwarded(peer=peer, **ALL) == "http://inner:1"


def test_without_the_setting_nobody_is() -> None:
    headers = [(b"host", b"inner:1"), (b"x-forwarded-host", b"a.example")]
    scope = {"scheme": "http", "client": (PROXY, 1), "server": ("::1", 1), "headers": headers}
    assert origin(scope, ()) == "http://inner:1"


# --- what is passed over --------------------------------------------------------------------------

HOSTS = [
    "",
    " ",
    "a b",
    'evil"@x',
    "user@host",
    "user:password@host",
    "http://host",
    "host/path",
    "host?x",
    "host#x",
    "a\r\nSet-Cookie: b",
    "a\n",
    "a\0",
    "é.example",
    "-a",
    ".a",
    "a:",
    "a:b",
    "a:0",
    "a:65536",
    "a:123456",
    "a:1:2",
    "::1",
    "[::1",
    "[]",
    "[zz]",
    "[::1]x",
    "[1.2.3.4]",
    "[fe80::1%eth0]",
    "<script>",
    "a" * 10_000,
]


@pytest.mark.parametrize("host", HOSTS, ids=range(len(HOSTS)))
def test_hosts_that_are_none(host: str) -> None:
    assert forwarded(host) == SOCKET
    assert forwarded(host, host=host) == SOCKET
    assert forwarded(host=host) == "http://inner:1"
    assert forwarded(host, peer="127.0.0.1") == SOCKET


def test_a_bad_host_has_no_use_for_a_port() -> None:
    assert forwarded("a b", port="9", prefix="/s", proto="https") == "https://192.0.2.1:8420/s"


@pytest.mark.parametrize(
    "proto", ["", "ftp", "javascript", "https:", "http\r\n", "ws", "h" * 10_000]
)
def test_schemes_that_are_none(proto: str) -> None:
    assert forwarded(proto=proto) == "http://inner:1"


@pytest.mark.parametrize("port", ["", "0", "65536", "-1", "+1", "1.5", "²", "80 80", "1" * 10_000])
def test_ports_that_are_none(port: str) -> None:
    assert forwarded("a.example", port=port) == "http://a.example"


@pytest.mark.parametrize(
    "prefix",
    [
        "sim",
        "//evil.example",
        "/a//b",
        "/a b",
        "/../x",
        "/a/..",
        "/./a",
        "/a?x",
        "/a#x",
        "/a@b",
        '/"',
        "/%2e%2e",
        "/é",
        "/a\r\nX: y",
        "/a\n",
        "https://evil.example/",
        "/" + "a" * 10_000,
    ],
)
def test_prefixes_that_are_none(prefix: str) -> None:
    assert forwarded(prefix=prefix) == "http://inner:1"


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_nothing_is_repeated_that_could_end_a_link(text: str) -> None:
    found = forwarded(text, proto=text, host=text, port=text, prefix=text)
    assert found.isascii() and found.isprintable()
    assert not set(found) & set(" \"'<>@\\?#,;")
    assert found.startswith(("http://", "https://")) and found.count("//") == 1


def test_sockets_of_both_kinds() -> None:
    assert seen(host=None) == SOCKET
    assert seen(host=None, server=("2001:db8::1", 8420)) == "http://[2001:db8::1]:8420"


@pytest.mark.parametrize(
    ("base", "own", "prefix"),
    [
        ("http://127.0.0.1:8420", "http://127.0.0.1:8420", ""),
        ("https://Jobs.Example.org:443/a/b", "https://jobs.example.org", "/a/b"),
        ("http://jobs.example.org:443", "http://jobs.example.org:443", ""),
        ("http://[2001:DB8::1]:80/sim", "http://[2001:db8::1]", "/sim"),
        ("http://a.example:8080", "http://a.example:8080", ""),
    ],
)
def test_as_browsers_write_it(base: str, own: str, prefix: str) -> None:
    assert parts(base) == (own, prefix)
