"""Entity tags: which version of a thing somebody has seen (RFC 9110, sections 8.8.3 and 13.1)."""

from __future__ import annotations

import re
from typing import Any

# Weak or not, and the tag in its quotes.
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')

ANY = "*"

# What a route's description says of its reply.
TOLD: dict[str, Any] = {
    "headers": {"ETag": {"description": "of this version", "schema": {"type": "string"}}}
}


def of(version: int) -> str:
    """The tag of a version."""
    return f'"{version}"'


def same(given: str, tag: str) -> bool:
    """Whether If-None-Match names the tag: what has it need not be sent again."""
    return given.strip() == ANY or any(found == tag for _, found in _TAG.findall(given))


def same_strongly(given: str, tag: str) -> bool:
    """Whether If-Match names the tag; a weak one is none of what was seen byte by byte."""
    return any(found == tag and not weak for weak, found in _TAG.findall(given))
