"""Uvicorn's HTTP with a bound on what is no body, and without switching to other protocols."""

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_BYTES = 256 << 10  # of a head, or of what follows a body: nobody knows the caller yet
_END_OF_HEAD = b"\r\n\r\n"
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class Http(HttpToolsProtocol):
    _is_between = True  # requests
    _beside_bytes = 0  # since a body went on or a request ended

    def data_received(self, data: bytes) -> None:
        if self._is_between:
            # Java's client offers HTTP/2 with every request; the parser, taking it at its word,
            # would pass over the body.
            head, end, rest = data.partition(_END_OF_HEAD)
            if b"pgrade" in head:
                data = _UPGRADE.sub(b"", head) + end + rest
        self._beside_bytes += len(data)
        super().data_received(data)
        if self._beside_bytes > _MOST_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        self._is_between = False
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._beside_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_between = True
        self._beside_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        body = b'{"detail":"%b"}' % msg.encode()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()
