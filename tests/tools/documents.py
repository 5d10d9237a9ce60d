"""The code blocks of the documentation, and what they are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A paragraph that begins with the name of a file is about the block after it.
_FILE = re.compile(r"(?:\A|\n\n)`([\w./-]+\.\w+)`[^`\n]*(?:\n(?!\n)[^\n]*)*\n\n\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One code block of a page.

    Attributes:
        language: As after the fence.
        text: What it holds.
        file: Name of the file that the text before it says it is; empty for none.
        line: Where it begins.
    """

    language: str
    text: str
    file: str
    line: int


def blocks(path: Path) -> Iterator[Block]:
    """All blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        file = _FILE.search(before)
        yield Block(
            language=match[1],
            text=match[2],
            file=file[1] if file else "",
            line=before.count("\n") + 1,
        )


def pages() -> list[Path]:
    """All pages that are written by hand."""
    return sorted(DOCS.glob("*.md"))
