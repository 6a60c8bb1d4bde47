"""`profile = "faithful"`: clients that send too much are told so, as Rescale tells them."""

import re
from collections.abc import Callable

import httpx

from harness import Client, RunningServer


def test_the_thousand_and_first_submit(fresh: Callable[..., RunningServer]) -> None:
    server = fresh('profile = "faithful"').start()
    keys = [server.key(), server.key()]  # of one user
    base = f"{server.address}/api"
    with httpx.Client(timeout=30) as http:

        def submit(key: str, path: str = "v2/jobs/XXXXX/submit/") -> httpx.Response:
            return http.post(f"{base}/{path}", headers={"Authorization": f"Token {key}"})

        paths = ("v2/jobs/XXXXX/submit/", "v2/jobs/XXXXX/submit", "jobs/XXXXX/submit/")
        for number in range(1000):
            reply = submit(keys[number % 2], paths[number % 3])
            assert reply.status_code == 404
            assert reply.headers["X-RateLimit-Limit"] == "1000"
            assert reply.headers["X-RateLimit-Remaining"] == str(999 - number)
        for key in keys:
            reply = submit(key)
            assert reply.status_code == 429
            seconds = int(reply.headers["Retry-After"])
            assert 3500 < seconds <= 3600
            expected = f"Request was throttled. Expected available in {seconds} seconds."
            assert reply.json() == {"detail": expected}
            assert reply.headers["X-RateLimit-Limit"] == "1000"
            assert reply.headers["X-RateLimit-Remaining"] == "0"
        assert submit("nonsense").status_code == 401
        other = submit(server.key("eve@elsewhere.example"))
        assert (other.status_code, other.headers["X-RateLimit-Remaining"]) == (404, "999")

        # Other things that this user does go on.
        http.headers["Authorization"] = f"Token {keys[0]}"
        jobs = http.get(f"{base}/v2/jobs/")
        assert jobs.status_code == 200
        assert jobs.headers["X-RateLimit-Limit"] == "90000"
        assert jobs.headers["X-RateLimit-Remaining"] == "89999"
        files = http.get(f"{base}/v2/files/")
        assert files.status_code == 200 and "X-RateLimit-Limit" not in files.headers
        newer = http.get(f"{base}/v3/no/such/path/")
        assert newer.headers["X-RateLimit-Limit"] == "7200"
    metrics = httpx.get(f"{server.address}/metrics").text
    assert re.search(r'simyard_http_replies_total\{status="429"\} 2\.0', metrics)


def test_by_default_nothing_is_limited(client: Client) -> None:
    reply = client.call("GET", "jobs/", 200)
    assert not [name for name in reply.headers if name.startswith("x-ratelimit")]
