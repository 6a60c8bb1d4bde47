"""Tags and custom fields: what may be said of jobs and files."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from simyard.domain.errors import Invalid, Path
from simyard.domain.files import TAG_LENGTH, normalized

MOST_TAGS = 200
MOST_FIELDS = 200
NAME_LENGTH = 255
FIELD_BYTES = 64 << 10
_TOO_MANY = f"A job has at most {MOST_FIELDS} custom fields."


def checked_tags(names: Iterable[str], at: str = "tags") -> dict[str, str]:
    """Normalized name -> name as it is shown; of equal ones the first. Raises Invalid at the
    field.
    """
    found: dict[str, str] = {}
    for name in names:
        shown = " ".join(name.split())
        if not shown:
            raise Invalid.at(at, "This field may not be blank.")
        if len(shown) > TAG_LENGTH:
            raise Invalid.at(at, f"Ensure this field has no more than {TAG_LENGTH} characters.")
        found.setdefault(normalized(shown), shown)
    if len(found) > MOST_TAGS:
        raise Invalid.at("tags", f"Ensure this field has no more than {MOST_TAGS} elements.")
    return found


def with_tag(present: Iterable[str], name: str) -> tuple[dict[str, str], str]:
    """The tags with one more, and that one as it is shown. Raises Invalid."""
    checked_tags([name], "name")
    names = checked_tags([*present, name])
    return names, names[normalized(name)]


def without_tag(present: Iterable[str], name: str) -> dict[str, str]:
    """The tags with one less. Raises Invalid."""
    (away,) = checked_tags([name], "name")
    return {key: shown for key, shown in checked_tags(present).items() if key != away}


def checked_fields(values: Mapping[str, Any], at: Path = ()) -> Mapping[str, Any]:
    """Raises Invalid, below `at` in what was sent."""
    if len(values) > MOST_FIELDS:
        raise Invalid.at(at, _TOO_MANY)
    for name, value in values.items():
        if len(json.dumps(value)) > FIELD_BYTES:
            raise Invalid.at((*at, name), f"Ensure this value has at most {FIELD_BYTES} bytes.")
        if not name.strip() or len(name) > NAME_LENGTH:
            message = f"A custom field has a name of 1 to {NAME_LENGTH} characters."
            raise Invalid.at((*at, name), message)
    return values


def check_number_of_fields(present: Mapping[str, Any]) -> None:
    """Raises Invalid where a job has come to have too many."""
    if len(present) > MOST_FIELDS:
        raise Invalid.at((), _TOO_MANY)
