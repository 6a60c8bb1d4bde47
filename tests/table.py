"""The compatibility table as documents: docs/compatibility.md for people, its lines one by one in
docs/compatibility.csv. What it says and what proves it is judged in claims.py.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable

import claims
from claims import Claim

CSV = "compatibility.csv"
_ORDER = ("identical", "different", "absent", "unproved", "unexplained")


def csv_page() -> str:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(
        ["method", "path", "part", "field", "documented in", "verdict", "proved by", "because"]
    )
    for claim in claims.claims().values():
        rows.writerow(
            [
                claim.method,
                claim.path,
                claim.part,
                claim.field,
                claim.sources,
                claims.verdict(claim),
                claims.proofs().get(claim.key, "") if claims.is_implemented(claim) else "",
                claims.reason(claim),
            ]
        )
    return out.getvalue()


def problems() -> list[str]:
    """What no release may have: lines without proof or reason, and what the table does not know."""
    found = [
        f"{claims.verdict(claim)}: {claim.key}"
        for claim in claims.claims().values()
        if claims.verdict(claim) in ("unproved", "unexplained")
    ]
    found += [f"not in the table: {addition}" for addition in claims.additions()[1]]
    found += [f"proof of nothing: {key}" for key in claims.proofs().keys() - claims.claims().keys()]
    return found


def _count(of: Iterable[Claim]) -> Counter[str]:
    return Counter(claims.verdict(claim) for claim in of)


def summary() -> str:
    """For the README."""
    every = claims.claims().values()
    lines = ["| | documented | identical | different | absent |", "| --- | --- | --- | --- | --- |"]
    for name, part in (
        ("endpoints (method and path)", "endpoint"),
        ("parameters of queries", "query"),
        ("fields of requests", "request"),
        ("fields of replies", "reply"),
    ):
        chosen = [claim for claim in every if claim.part == part]
        count = _count(chosen)
        numbers = " | ".join(str(count[verdict]) for verdict in _ORDER[:3])
        lines.append(f"| {name} | {len(chosen)} | {numbers} |")
    return "\n".join(lines)


def endpoints() -> str:
    by_place: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims.claims().values():
        by_place.setdefault((claim.path, claim.method), []).append(claim)
    lines = [
        "| endpoint | documented in | here | same, different, absent fields | by | because |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (path, method), those in by_place.items():
        whole = next(claim for claim in those if claim.part == "endpoint")
        inner = [claim for claim in those if claim.part != "endpoint"]
        count = _count(inner)
        fields = " / ".join(str(count[verdict]) for verdict in _ORDER[:3]) if inner else ""
        lines.append(
            f"| `{method} {path}` | {whole.sources} | {claims.verdict(whole)} | {fields} |"
            f" {_proof(whole)} | {claims.reason(whole)} |"
        )
    return "\n".join(lines)


def _proof(claim: Claim) -> str:
    test = claims.proofs().get(claim.key, "") if claims.is_implemented(claim) else ""
    file, _, name = test.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../{file})" if test else ""


def objects() -> str:
    """Fields that differ or are absent, once for all endpoints that have them."""
    seen: dict[tuple[str, str, str, str], list[Claim]] = {}
    for claim in claims.claims().values():
        if claim.part == "endpoint" or not claims.reason(claim):
            continue
        if claims.reason(claim) == claims.reason(_endpoint_of(claim)):
            continue  # said of the endpoint as a whole
        name = re.sub(r"^(results)?\[\]\.", "", claim.field)
        key = (claim.part, name, claims.verdict(claim), claims.reason(claim))
        seen.setdefault(key, []).append(claim)
    lines = [
        "| field | of | documented in | here | because | endpoints |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (part, name, verdict, because), those in sorted(seen.items()):
        tags = " ".join(dict.fromkeys(tag for claim in those for tag in claim.sources.split()))
        lines.append(f"| `{name}` | {part} | {tags} | {verdict} | {because} | {len(those)} |")
    return "\n".join(lines)


def _endpoint_of(claim: Claim) -> Claim:
    return claims.claims()[f"{claim.method} {claim.path} endpoint"]


def sources() -> str:
    lines = ["| tag | what it is |", "| --- | --- |"]
    lines += [f"| {tag} | {about} |" for tag, about in claims.contract()["sources"].items()]
    return "\n".join(lines)


def added() -> str:
    """Routes that no source has."""
    documented = {(claim.method, claim.path) for claim in claims.claims().values()}
    lines = ["| route | what it does |", "| --- | --- |"]
    for (method, path), operation in sorted(
        claims.operations().items(), key=lambda item: (item[0][1], item[0][0])
    ):
        if (method, path) not in documented:
            lines.append(f"| `{method} {path}` | {operation.summary} |")
    fields = [
        f"| `{name}` | {about} |"
        for name, about in claims.differences()["additions"].items()
        if "/" not in name
    ]
    head = ["", "| field or parameter | what it is |", "| --- | --- |"]
    return "\n".join([*lines, *head, *fields])
