"""The API as a good client sees it: it asks again where it was not answered, and never twice for
different things under one Idempotency-Key.
"""

import http.client
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from simyard.torture.ledger import Ledger

_AGAIN = (502, 503, 504, 507)
_TIMEOUT_SECONDS = 40.0  # longer than the server itself waits for its database
PATIENCE_SECONDS = 100.0  # with a server that is up all the time; longer than any fault lasts


class Lost(Exception):
    """The connection broke before the reply was there: nobody knows whether it was done."""


class GivenUp(Exception):
    """The server was up for as long as a client is willing to ask, and did not answer."""


class Where(Protocol):
    """The server as its clients know it."""

    def port(self) -> int: ...

    def up_since(self) -> float | None:
        """Since when (time.monotonic) it answers; None while it is down."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in small letters
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class Caller:
    """One kept-alive connection of one user. Not for several threads at once."""

    def __init__(self, where: Where, key: str) -> None:
        self.where = where
        self._key = key
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request. path: below /api/v2/. Raises Lost."""
        sent = {"Authorization": f"Token {self._key}", **(headers or {})}
        try:
            connection = self._connect()
            connection.request(method, f"/api/v2/{path}", body, sent)
            reply = connection.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost(str(error)) from error
        names = {name.lower(): value for name, value in reply.getheaders()}
        return Reply(reply.status, names, content)

    def break_off(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Announce a body, send this much of it, and go away. A whole body may be sent too: then
        it is the reply that nobody reads.
        """
        try:
            connection = self._connect()
            connection.putrequest(method, f"/api/v2/{path}")
            connection.putheader("Authorization", f"Token {self._key}")
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
        except (OSError, http.client.HTTPException):
            pass  # it broke earlier
        finally:
            self.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self.where.port(), timeout=_TIMEOUT_SECONDS
            )
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Stubborn:
    """A caller that asks until it is answered. What is wrong with a reply goes into the ledger."""

    def __init__(self, caller: Caller, ledger: Ledger, chance: random.Random) -> None:
        self.caller = caller
        self._ledger = ledger
        self._chance = chance

    def insist(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        expect: tuple[int, ...] = (200,),
    ) -> Reply:
        """Ask until there is an answer. Raises GivenUp where a server that was up for
        PATIENCE_SECONDS gave none, however often it was killed before, and for an answer that is
        not expected, which is written down.
        """
        last, began = "", time.monotonic()
        while True:
            up = self.caller.where.up_since()
            if up is not None and time.monotonic() - max(up, began) > PATIENCE_SECONDS:
                break
            try:
                reply = self.caller.ask(method, path, body, headers)
            except Lost as error:
                last = f"none ({error})"
                self._ledger.note("lost", method=method, path=path)
                time.sleep(self._chance.uniform(0.02, 0.4))
                continue
            self._judge(method, path, reply, expect)
            if reply.status in expect:
                return reply
            if reply.status not in _AGAIN:
                raise GivenUp(f"{method} {path}: {reply.status}")
            last = f"{reply.status} {reply.content[:300].decode(errors='replace')}"
            # Sooner than asked: that is the harder case for the server.
            time.sleep(self._chance.uniform(0.3, 1.0))
        self._ledger.note("unanswered", method=method, path=path, last=last)
        raise GivenUp(f"{method} {path}")

    def _judge(self, method: str, path: str, reply: Reply, expect: tuple[int, ...]) -> None:
        if reply.status in expect:
            return
        said = reply.content[:300].decode(errors="replace")
        clear = False
        if reply.status in (503, 507) and "retry-after" in reply.headers:
            try:
                clear = isinstance(reply.json()["detail"], str)
            except (ValueError, KeyError, TypeError):
                clear = False
        word = "refused" if clear else "unexpected"
        self._ledger.note(word, method=method, path=path, status=reply.status, said=said)
