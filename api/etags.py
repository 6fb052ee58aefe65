"""Entity tags: which version of a thing somebody has seen (RFC 9110, sections 8.8.3 and 13.1)."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import Response

from api import kinds
from api.problems import Failed

# Weak or not, and the tag in its quotes.
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')

ANY = "*"

# What a route's description says of its reply, and of one that may be asked for anew.
TOLD: dict[str, Any] = {
    "headers": {"ETag": {"description": "of this version", "schema": {"type": "string"}}}
}
IfNoneMatch = Annotated[str | None, Header(description="the `ETag` that is there")]
READ: dict[int | str, dict[str, Any]] = {
    200: TOLD,
    304: {"description": "`If-None-Match` names the version of now."},
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


def not_modified(given: str | None, version: int) -> Response | None:
    """The answer to If-None-Match, where it names this version."""
    tag = of(version)
    if given is None or not same(given, tag):
        return None
    return Response(status_code=304, headers={"ETag": tag})


def needed(if_match: str | None, what: str) -> str:
    """The If-Match that came. Raises Failed where there is none, or one for any version, which
    would overwrite what was never seen."""
    if if_match is None or if_match.strip() == ANY:
        detail = f"If-Match must be the ETag of the {what} as it was read"
        raise Failed(kinds.MATCH_MISSING, detail)
    return if_match


def changed(ex: Exception, version: int) -> Failed:
    """The answer where something was changed since it was read; `version` is the one of now."""
    return Failed(kinds.CHANGED, str(ex), headers={"ETag": of(version)})
