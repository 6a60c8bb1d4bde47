"""A reverse proxy with a prefix, as small as one can be."""

import contextlib
import socket
import socketserver
import threading
from urllib.parse import urlsplit


class Proxy(socketserver.ThreadingTCPServer):
    """Takes /sim away, tells so in headers, and sends everything on as it comes."""

    allow_reuse_address = True
    daemon_threads = True  # a stream that nobody reads any more is not waited for

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.upstream = (urlsplit(upstream).hostname, urlsplit(upstream).port)
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=[0.02])
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(10)


class Passage(socketserver.StreamRequestHandler):
    """One request of a connection of its own."""

    server: Proxy

    def handle(self) -> None:
        head = list(iter(lambda: self.rfile.readline().decode("latin-1").strip(), ""))
        if not head:  # a browser connects ahead of need
            return
        method, target, version = head[0].split(" ")
        assert target.startswith("/sim/"), target
        told = {
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": f"localhost:{self.server.port}",
            "X-Forwarded-Prefix": "/sim",
            "Connection": "close",
            "Host": "simyard.internal",
        }
        pairs = (line.split(": ", 1) for line in head[1:])
        kept = {name.title(): value for name, value in pairs}
        length = int(kept.get("Content-Length", "0"))
        kept = {name: value for name, value in kept.items() if name not in told}
        lines = [f"{method} {target.removeprefix('/sim')} {version}"]
        lines += [f"{name}: {value}" for name, value in {**kept, **told}.items()]
        with socket.create_connection(self.server.upstream, timeout=30) as up:
            up.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + self.rfile.read(length))
            with contextlib.suppress(ConnectionError):  # the client has gone
                while piece := up.recv(1 << 16):
                    self.wfile.write(piece)
