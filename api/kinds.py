"""The kinds of problems: what the `type` of an error names, so that a client can tell them apart
without reading words. Each is described at its own address. A kind is never renamed, and never
changes its status: clients decide by both."""

from __future__ import annotations

from dataclasses import dataclass

PATH = "/problems/{name}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem (RFC 9457): `name` is the last part of its address."""

    name: str
    status: int
    title: str
    advice: str  # what a client can do about it
    passes: bool = False  # by itself: the answer says when to come back

    @property
    def type(self) -> str:
        """Its address on this server, relative to whatever host the client knows it by."""
        return PATH.format(name=self.name)


_ALL = (
    INVALID := Kind(
        "invalid",
        422,
        "The request is not valid",
        "Each of `errors` names a field and what is wrong with it. Sent again as it is, the request"
        " is refused again.",
    ),
    UNAUTHENTICATED := Kind(
        "unauthenticated",
        401,
        "Nobody is known by what the request came with",
        "Send a valid key or token as `Authorization: Bearer`, or sign in to the pages again.",
    ),
    FORBIDDEN := Kind(
        "forbidden",
        403,
        "The caller may not do this",
        "`detail` names what is missing, such as a scope. Ask an admin for a key with it.",
    ),
    READ_ONLY := Kind(
        "read-only",
        403,
        "The database lets the API only read",
        "Give the database role of the API the rights that docs/security.md lists.",
    ),
    NOT_FOUND := Kind(
        "not-found",
        404,
        "There is no such thing",
        "Check the address and the id in it. Old data may have been deleted by its retention.",
    ),
    METHOD_NOT_ALLOWED := Kind(
        "method-not-allowed",
        405,
        "This address does not know the method",
        "`Allow` lists the methods that it knows.",
    ),
    TOO_SLOW := Kind(
        "too-slow",
        408,
        "The body did not come in time",
        "Send the request again, in smaller parts over a slow line.",
    ),
    CONFLICT := Kind(
        "conflict",
        409,
        "The state of the thing does not allow this",
        "`detail` says what is in the way. Read the thing again before another attempt.",
    ),
    ID_REUSED := Kind(
        "id-reused",
        409,
        "An id was used before, for something else",
        "An id stands for one payment for ever. Give another payment another id; to repeat one,"
        " send the very same content.",
    ),
    KEY_REUSED := Kind(
        "key-reused",
        422,
        "The idempotency key stands for another request",
        "A key stands for one request, to the last byte. Give another request another key.",
    ),
    CHANGED := Kind(
        "changed",
        412,
        "It was changed meanwhile",
        "Read it again, and decide anew: `ETag` is the one of now.",
    ),
    TOO_LARGE := Kind(
        "too-large", 413, "The body is too large", "`detail` says how much is taken. Send less."
    ),
    MEDIA_TYPE := Kind(
        "media-type",
        415,
        "The body is not declared as what is taken",
        "Send `Content-Type: application/json`.",
    ),
    MATCH_MISSING := Kind(
        "match-missing",
        428,
        "If-Match is missing",
        "Send the `ETag` of what was read as `If-Match`, so that nobody's work is overwritten.",
    ),
    TOO_MANY := Kind(
        "too-many",
        429,
        "Too many requests",
        "`Retry-After` says in how many seconds to come back.",
        passes=True,
    ),
    INTERNAL := Kind(
        "internal",
        500,
        "A failure of ours",
        "Report it with the `X-Request-ID` of the answer: the log has the rest.",
    ),
    UNAVAILABLE := Kind(
        "unavailable",
        503,
        "The database, or Kafka, does not answer",
        "Nothing is lost and nothing was done twice: send the same request again after"
        " `Retry-After` seconds.",
        passes=True,
    ),
    BUSY := Kind(
        "busy",
        503,
        "Too much is under way",
        "Send the same request again after `Retry-After` seconds, or send less at a time.",
        passes=True,
    ),
    SCHEMA := Kind(
        "schema",
        503,
        "The database does not have the tables of this release",
        "Run `tidegate migrate`.",
        passes=True,
    ),
    SWITCHED_OFF := Kind(
        "switched-off",
        503,
        "This server is not set up for it",
        "`detail` names the setting. Trying again does not help.",
    ),
)
KINDS = {kind.name: kind for kind in _ALL}

# What the framework itself refuses with no more than a status.
BY_STATUS = {
    kind.status: kind
    for kind in (
        *(UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE, MEDIA_TYPE),
        *(INVALID, TOO_MANY, INTERNAL, UNAVAILABLE),
    )
}
