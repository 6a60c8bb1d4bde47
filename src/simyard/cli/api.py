"""`simyard api`: any request of the API, for terminals and scripts."""

import codecs
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.parse import parse_qsl, urlsplit

import click

from simyard.cli import options

if TYPE_CHECKING:
    from simyard.client.wire import Body, Call, Reply, Server

_PAGE_SIZE = 500  # of --all, where nothing else is said
_MOST_PRETTY_BYTES = 1 << 24
_MOST_ERROR_BYTES = 1 << 22
_OURS = {
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
}
# What a terminal may take for commands. JSON has names for them.
_CONTROLS = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
_IN_TEXT = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *_CONTROLS) if chr(code) not in "\n\t"
}
_KEY_HINT = "export SIMYARD_API_KEY=...; the console makes keys in its settings, `simyard keys` too"


def _pairs(separator: str) -> Callable[..., list[tuple[str, str]]]:
    def split(
        _context: click.Context, _option: click.Parameter, given: tuple[str, ...]
    ) -> list[tuple[str, str]]:
        pairs = [text.partition(separator) for text in given]
        for name, found, _ in pairs:
            if not (found and name):
                raise click.BadParameter(f"{name or separator!r} is not NAME{separator}VALUE")
        return [(name, value) for name, _, value in pairs]

    return split


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[METHOD] PATH")
@click.option(
    "-q",
    "--query",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_pairs("="),
    help="A parameter; may be repeated.",
)
@click.option(
    "--json", "text", metavar="TEXT|@FILE|-", help="Send this JSON, that of a file or of stdin."
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send this file as a form, as files/contents/ takes it.",
)
@click.option(
    "-H",
    "--header",
    multiple=True,
    metavar="NAME:VALUE",
    callback=_pairs(":"),
    help="A header, like 'If-Match: \"3\"'; may be repeated.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the reply here. The file is there when all of it has come, and not before.",
)
@click.option("--all", "every", is_flag=True, help="The results of all pages, as one JSON array.")
@click.option("-i", "--include", is_flag=True, help="Show status and headers first.")
@click.option(
    "--url",
    envvar="SIMYARD_URL",
    show_envvar=True,
    default="http://127.0.0.1:8420",
    show_default=True,
    help="The server.",
)
@click.option(
    "--ca-file",
    envvar="SIMYARD_CA_FILE",
    show_envvar=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates to trust beside the machine's, in PEM form.",
)
def api(
    words: tuple[str, ...],
    query: list[tuple[str, str]],
    text: str | None,
    file: Path | None,
    header: list[tuple[str, str]],
    output: Path | None,
    every: bool,
    include: bool,
    url: str,
    ca_file: Path | None,
) -> None:
    r"""Make a request of the API and print the reply.

    PATH stands below /api/v2/, like jobs/; one that begins with a slash is taken as it is. METHOD
    is GET, or POST where --json or --file is given. The key is read from SIMYARD_API_KEY. What
    fails says why on stderr and ends with status 1.

    \b
      simyard api jobs/ -q page_size=5
      simyard api files/contents/ --file case.zip
      simyard api jobs/ --json @job.json
      simyard api POST jobs/QTVia/submit/
      simyard api files/iudjqe/contents/ -o process_output.log
      simyard api events/
    """
    from simyard.client import wire

    method, path = _method_and_path(words, is_sending=text is not None or file is not None)
    if text is not None and file:
        raise click.UsageError("give either --json or --file")
    if method in ("GET", "HEAD", "OPTIONS") and (text is not None or file):
        raise click.UsageError(f"{method} sends nothing; leave it out, or write POST")
    if every and (method != "GET" or include):
        raise click.UsageError("--all is for GET, and shows no headers")
    headers = {name.strip(): value.strip() for name, value in header}
    for name, value in headers.items():
        is_header = re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII)
        if name.lower() in _OURS or not (is_header and value.isascii() and value.isprintable()):
            raise click.UsageError(f"the header {_shown(name)} cannot be given")
    body = _json(text) if text is not None else None
    key = os.environ.get("SIMYARD_API_KEY", "").strip()
    if not key:
        options.fail("SIMYARD_API_KEY is not set", _KEY_HINT)
    if method in ("POST", "PUT") and "idempotency-key" not in map(str.lower, headers):
        headers["Idempotency-Key"] = secrets.token_hex(16)
    try:
        server = wire.Server(url, key, ca_file)
        body = wire.file_body(file) if file else body
        call = wire.Call(method, server.target(path, query), headers, body)
        with _written(output) if output else _stdout() as sink:
            if every:
                _print_all(server, call, sink, is_pretty=_is_terminal(output))
            else:
                _print(server, call, sink, include=include, is_seen=_is_terminal(output))
    except wire.CallFailed as error:
        options.fail(_shown(str(error)), _shown(error.hint))
    except KeyboardInterrupt:
        sys.exit(130)


def _method_and_path(words: tuple[str, ...], *, is_sending: bool) -> tuple[str, str]:
    from simyard.client import wire

    if len(words) > 2:
        raise click.UsageError(f"unexpected argument {words[2]!r}")
    if len(words) == 2:
        method = words[0].upper()
        if method not in wire.METHODS:
            raise click.UsageError(f"{words[0]!r} is not one of {', '.join(wire.METHODS)}")
        return method, words[1]
    if words[0] in wire.METHODS or not words[0]:
        raise click.UsageError("Missing argument 'PATH'.")
    return "POST" if is_sending else "GET", words[0]


def _json(given: str) -> "Body":
    from simyard.client import wire

    try:
        if given == "-":
            content = sys.stdin.buffer.read()
        elif given.startswith("@"):
            content = Path(given[1:]).read_bytes()
        else:
            content = given.encode()
        return wire.json_body(content)
    except OSError as error:
        raise click.BadParameter(f"{given[1:]}: {error.strerror}", param_hint="--json") from None
    except ValueError as error:  # of the text and of its encoding
        raise click.BadParameter(f"this is not JSON: {error}", param_hint="--json") from None


# --- replies --------------------------------------------------------------------------------------


def _print(server: "Server", call: "Call", sink: BinaryIO, *, include: bool, is_seen: bool) -> None:
    reply = server.ask(call, _tell)
    if include or call.method == "HEAD":
        lines = [f"HTTP/1.1 {reply.status} {reply.reason}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        head = sys.stdout.buffer
        head.write("\n".join([*map(_shown, lines), "", ""]).encode())
        head.flush()
    if reply.status >= 400:
        content = reply.content(_MOST_ERROR_BYTES)
        if include:
            sys.stdout.buffer.writelines(_harmless([content]) if sys.stdout.isatty() else [content])
        _refused(reply, content)
    is_short = reply.size_bytes is not None and reply.size_bytes <= _MOST_PRETTY_BYTES
    if is_seen and is_short and reply.media_type == "application/json":
        sink.writelines(_for_people(reply.content()))
        return
    pieces = server.pieces(call, reply, _tell)
    for piece in _harmless(pieces) if is_seen else pieces:
        sink.write(piece)
        sink.flush()


def _print_all(server: "Server", call: "Call", sink: BinaryIO, *, is_pretty: bool) -> None:
    from simyard.client import wire

    path, _, given = call.target.partition("?")
    if not {"page_size", "limit"} & dict(parse_qsl(given)).keys():
        given = "&".join(filter(None, [given, f"page_size={_PAGE_SIZE}"]))
    before = b"["
    following: str | None = given
    asked = set()
    while following is not None:
        target = server.target(f"{path}?{following}")
        if target in asked:
            raise wire.CallFailed("the list does not end: its next page was there before")
        asked.add(target)
        reply = server.ask(wire.Call("GET", target, call.headers), _tell)
        if reply.status >= 400:
            _refused(reply, reply.content(_MOST_ERROR_BYTES))
        results, following = _page(reply.content(), is_pretty=is_pretty)
        for each in results:
            sink.write(before + b"\n" + each)
            before = b","
        sink.flush()
    sink.write(b"[]\n" if before == b"[" else b"\n]\n")


def _page(content: bytes, *, is_pretty: bool) -> tuple[list[bytes], str | None]:
    """The results of a page, each as JSON, and the query of the next. Its host and path stay those
    that were asked, whatever address the server gives itself.
    """
    from simyard.client import wire

    try:
        page = json.loads(content)
        results, link = page["results"], page["next"]
        if isinstance(results, list):
            dumped = [_dumped(each, is_pretty=is_pretty) for each in results]
            return dumped, None if link is None else urlsplit(link).query
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise wire.CallFailed("this is no list in pages", "leave --all out")


def _dumped(value: Any, *, is_pretty: bool) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=2 if is_pretty else None)
    return text.translate(_CONTROLS).encode("utf-8", "backslashreplace")


def _for_people(content: bytes) -> Iterable[bytes]:
    try:
        return [_dumped(json.loads(content), is_pretty=True), b"\n"]
    except (ValueError, RecursionError):
        return _harmless([content])


def _harmless(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What a terminal shows of them as it is, and the names of the rest."""
    for text in codecs.iterdecode(pieces, "utf-8", "backslashreplace"):
        yield text.translate(_IN_TEXT).encode()


def _refused(reply: "Reply", content: bytes) -> NoReturn:
    """End the command with what the server has against the request."""
    sentences: list[str] = []
    if reply.media_type == "application/json":
        with suppress(ValueError, RecursionError):
            sentences = list(_sentences(json.loads(content)))
    hint = _KEY_HINT if reply.status == 401 else ""
    if reply.status in (429, 503, 507) and (seconds := reply.wait_seconds()) is not None:
        hint = f"nothing was done; ask again in {seconds} s"
    if reply.may_be_done:
        hint = "an earlier try may have done it"
    if len(sentences) == 1:
        options.fail(f"{_shown(sentences[0])} ({reply.status})", hint)
    said = f"{reply.status} {reply.reason}".strip()
    options.fail("\n  ".join(map(_shown, [said, *sentences])), hint)


def _sentences(problems: Any, where: str = "") -> Iterator[str]:
    """Those of a tree of fields, each with its place."""
    if isinstance(problems, Mapping):
        for name, below in problems.items():
            is_plain = name == "detail" and not where
            yield from _sentences(below, "" if is_plain else f"{where}.{name}" if where else name)
    elif isinstance(problems, list):
        for number, below in enumerate(problems):
            is_text = isinstance(below, str)
            yield from _sentences(below, where if is_text else f"{where}.{number}".lstrip("."))
    else:
        yield f"{where}: {problems}" if where else str(problems)


# --- where it goes --------------------------------------------------------------------------------


@contextmanager
def _stdout() -> Iterator[BinaryIO]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # whoever reads has enough
    except OSError as error:
        options.fail(f"stdout: {error.strerror}")


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file beside, which takes the place of this one at a good end. What is no regular file, like
    /dev/null, is written to.
    """
    try:
        path = Path(os.path.realpath(path))
        if path.exists() and not path.is_file():
            with path.open("wb") as sink:
                yield sink
            return
        aside = path.with_name(f".{secrets.token_hex(6)}.part")
        mode = path.stat().st_mode & 0o777 if path.exists() else None
        aside.touch(0o666 if mode is None else 0o600, exist_ok=False)
        try:
            with aside.open("wb") as sink:
                yield sink
            if mode is not None:
                aside.chmod(mode)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        options.fail(f"{path}: {error.strerror}")


def _is_terminal(output: Path | None) -> bool:
    return output is None and sys.stdout.isatty()


def _tell(line: str) -> None:
    print(_shown(line), file=sys.stderr)


def _shown(text: str) -> str:
    """Without what a terminal may take for commands."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
