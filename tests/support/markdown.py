"""Links and headings of Markdown pages, as GitHub reads them."""

from __future__ import annotations

import functools
import re
from pathlib import Path

CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """Targets of the links to files, with their anchors."""
    found = re.findall(r"\]\(([^)\s]+)\)", CODE_BLOCK.sub("", text))
    return [target for target in found if not re.match(r"\w+:", target)]


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", CODE_BLOCK.sub("", page.read_text()), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings)


def unresolved(link: str, page: Path) -> bool:
    """Whether a link on a page leads to a file, or to a heading, that does not exist."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return not target.exists() or (bool(anchor) and anchor not in anchors(target))
