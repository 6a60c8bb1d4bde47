"""A server to try things on, and the few calls of the tutorial as any client would make them."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx


class DemoFailed(Exception):
    """The text says why."""


@contextmanager
def stage(name: str, keep: bool) -> Iterator[Path]:
    """An empty data folder for a demo. What goes wrong in it is told, and ends the program with a
    non-zero status. keep: leave the folder there, unless the demo fails.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f"simyard-{name}-"))
    scratch.chmod(0o711)  # jobs of a root server without a sandbox run as another user
    try:
        (scratch / "data").mkdir()
        yield scratch / "data"
    except (DemoFailed, httpx.HTTPError) as error:
        keep = False
        reason = error if isinstance(error, DemoFailed) else f"the server does not answer: {error}"
        print(f"\ndemo: failed: {reason}", file=sys.stderr)
        sys.exit(1)
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def server(
    data: Path, keep: bool, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[str, str]]:
    """A running server: its address and an API key. keep: leave it up, unless the body fails.
    environment: what it has beside ours.
    """
    command = [sys.executable, "-m", "simyard"]
    log = data.with_name(f"{data.name}.log").open("w")
    process = subprocess.Popen(
        [*command, "serve", "--data", str(data), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, **environment},
        start_new_session=keep,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise DemoFailed(f"the server did not start:\n{Path(log.name).read_text()}")
        print(line.strip())
        address = line.split()[-1]
        made = subprocess.run(
            [*command, "keys", "create", "--data", str(data), "--email", "demo@example.org"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise DemoFailed(made.stderr)
        yield address, made.stdout.strip()
    except BaseException:
        keep = False
        raise
    finally:
        if keep:
            print(f"\nThe server goes on as process {process.pid}; end it with: kill {process.pid}")
            print(f"Its data folder is {data}")
        else:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


class Client:
    """Calls with a key. Raises DemoFailed with the reason where one is refused."""

    def __init__(self, address: str, key: str) -> None:
        self.base = f"{address}/api/v2"
        self.key = key
        self._http = httpx.Client(headers={"Authorization": f"Token {key}"}, timeout=60)

    def call(self, method: str, path: str, expected: int, **options: Any) -> httpx.Response:
        url = path if path.startswith("http") else f"{self.base}/{path}"
        reply = self._http.request(method, url, **options)
        if reply.status_code != expected:
            raise DemoFailed(f"{method} {url} answered {reply.status_code}: {reply.text[:500]}")
        return reply

    def get(self, path: str) -> Any:
        return self.call("GET", path, 200).json()

    def pages(self, path: str) -> Iterator[Any]:
        following: str | None = path
        while following:
            page = self.get(following)
            yield from page["results"]
            following = page["next"]

    def upload(self, path: Path) -> dict[str, Any]:
        """Send a file and hold what the server says of it against its checksum."""
        with path.open("rb") as content:
            file = self.call("POST", "files/contents/", 201, files={"file": content}).json()
        if file["md5"] != hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest():
            raise DemoFailed(f"{path.name}: the server's md5 of the upload differs")
        return dict(file)

    def download(self, file: dict[str, Any], target: Path) -> None:
        """Fetch a file and hold it against both of its checksums."""
        target.parent.mkdir(parents=True, exist_ok=True)
        md5, sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
        with self._http.stream("GET", file["downloadUrl"]) as reply, target.open("wb") as out:
            if reply.status_code != 200:
                raise DemoFailed(f"{file['downloadUrl']} answered {reply.status_code}")
            for chunk in reply.iter_bytes():
                md5.update(chunk)
                sha512.update(chunk)
                out.write(chunk)
        if md5.hexdigest() != file["md5"]:
            raise DemoFailed(f"{file['relativePath']}: the md5 of what came differs")
        if sha512.hexdigest() != file["fileChecksums"][0]["fileHash"]:
            raise DemoFailed(f"{file['relativePath']}: the sha512 of what came differs")
