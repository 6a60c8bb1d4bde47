"""Holding replies against recorded shapes: every key of the record, of the same type."""

import json
import re
from pathlib import Path
from typing import Any

TUTORIAL: dict[str, Any] = json.loads(
    (Path(__file__).parent / "wire" / "tutorial.json").read_text()
)
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def same_shape(recorded: Any, reply: Any, at: str = "reply") -> None:
    """Every key that the record shows is in the reply with a value of the same type; numbers are
    numbers; null is null; a time is written in the same way. The reply may have more keys. A list
    of the record shows what each entry of the reply's list looks like."""
    if recorded is None:
        assert reply is None, f"{at}: {reply!r} is not null"
    elif isinstance(recorded, bool):
        assert isinstance(reply, bool), f"{at}: {reply!r} is no boolean"
    elif isinstance(recorded, int | float):
        assert isinstance(reply, int | float) and not isinstance(reply, bool), f"{at}: {reply!r}"
    elif isinstance(recorded, str):
        assert isinstance(reply, str), f"{at}: {reply!r} is no text"
        if INSTANT.fullmatch(recorded):
            assert INSTANT.fullmatch(reply), f"{at}: {reply!r} is no time"
    elif isinstance(recorded, list):
        assert isinstance(reply, list), f"{at}: {reply!r} is no list"
        for i, entry in enumerate(reply if recorded else []):
            shape = recorded[min(i, len(recorded) - 1)]
            if isinstance(shape, str):
                shape = TUTORIAL.get(shape, shape)  # "file" stands for the shape of a file
            same_shape(shape, entry, f"{at}[{i}]")
    else:
        assert isinstance(reply, dict), f"{at}: {reply!r} is no object"
        for key, value in recorded.items():
            assert key in reply, f"{at} has no {key}"
            same_shape(value, reply[key], f"{at}.{key}")
