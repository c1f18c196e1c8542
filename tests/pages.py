"""The pages of the documentation, and the programs on them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fenced(page: Path) -> list[tuple[str, str]]:
    """Return every code block in order: its language, which may be empty, and what is in it."""
    return _FENCED.findall(page.read_text(encoding="utf-8"))


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return [block for name, block in fenced(page) if name == language]


def with_output(page: Path, language: str) -> list[tuple[str, str]]:
    """Return the code blocks of one language, each with what the page says it prints: the block behind it."""
    both = fenced(page)
    return [
        (block, following if plain == "" else "")
        for (name, block), (plain, following) in zip(both, [*both[1:], ("none", "")], strict=True)
        if name == language
    ]
