"""Where a client reaches this server: what absolute links begin with.

Headers are text from outside. One that has not exactly the shape of what it should be is passed
over, never repeated; and only a proxy that the site trusts is asked for more than the Host.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

_PORTS = {"http": "80", "https": "443"}  # that links need not name
_HOST = re.compile(
    r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?"
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_.~-]+)+")
_LONGEST_PREFIX = 200


def origin(scope: Scope, proxies: Sequence[IPv4Network | IPv6Network]) -> str:
    """Scheme, host, port and a prefix that the proxy takes away; without a slash at the end."""
    scheme, port, prefix = scope["scheme"], "", ""
    host = _host(header(scope, b"host"))
    if proxies and _is_within(scope["client"], proxies):
        said = _first(scope, b"x-forwarded-proto").lower()
        scheme = said if said in _PORTS else scheme
        host = _host(_first(scope, b"x-forwarded-host")) or host
        port = _port(_first(scope, b"x-forwarded-port"))
        prefix = _prefix(_first(scope, b"x-forwarded-prefix"))
    if not host:
        host = _of_socket(scope)
    elif port and port != _PORTS[scheme] and not re.search(r":\d+$", host):
        host = f"{host}:{port}"
    return f"{scheme}://{host}{prefix}"


def _is_within(
    peer: Sequence[object] | None, networks: Sequence[IPv4Network | IPv6Network]
) -> bool:
    try:
        address = ip_address(str(peer[0])) if peer else None
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped  # how a socket for both kinds names IPv4 peers
    return address is not None and any(address in network for network in networks)


def parts(base: str) -> tuple[str, str]:
    """Of such an address (or the public one) the origin as browsers write it, and the prefix."""
    scheme, _, rest = base.partition("://")
    host, slash, prefix = rest.partition("/")
    return f"{scheme}://{host.lower().removesuffix(f':{_PORTS[scheme]}')}", slash + prefix


def header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _first(scope: Scope, name: bytes) -> str:
    """The first of several values: that of the proxy that the client spoke with."""
    return header(scope, name).partition(",")[0].strip(" \t")


def _host(text: str) -> str:
    """What names a host, and a port if it likes; "" for anything else."""
    found = _HOST.fullmatch(text)
    if found is None or (found[3] and not _port(found[3])):
        return ""
    if found[2]:
        try:
            IPv6Address(found[2])
        except ValueError:
            return ""
    return text


def _port(text: str) -> str:
    good = text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536
    return str(int(text)) if good else ""


def _prefix(text: str) -> str:
    text = text.removesuffix("/")
    good = len(text) <= _LONGEST_PREFIX and _PREFIX.fullmatch(text)
    return text if good and not {".", ".."} & set(text.split("/")) else ""


def _of_socket(scope: Scope) -> str:
    host, port = scope["server"]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
