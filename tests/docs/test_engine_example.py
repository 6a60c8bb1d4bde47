"""The engine in docs/howto/add-an-engine.md passes the suite, in the way that the page shows."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "add-an-engine.md"
SNIPPET = re.compile(r"<!-- test: (\w+) -->\n```python\n(.*?)\n```", re.DOTALL)
SNIPPETS = dict(SNIPPET.findall(PAGE.read_text()))

pytestmark = pytest.mark.sandbox


def module(name: str, text: str) -> ModuleType:
    made = sys.modules[name] = ModuleType(name)
    exec(compile(text, f"{PAGE}: {name}", "exec"), made.__dict__)  # the page is ours
    return made


module("simyard_plain", SNIPPETS["engine"])
TestPlainEngine = module("test_simyard_plain", SNIPPETS["suite"]).TestPlainEngine
