r"""Alerts by what is written in them: ids of the payment, card, terminal and merchant, the text of
their reasons, and comments.

Ids are found as they begin, everything else by words as they begin, in any case and order; of
several words all must be there. A word is what stands between characters that are neither letters
nor digits in ASCII. `alert_text` holds the words of each alert, kept by the triggers of
`0013_cases`; an alert of before has none until it is gathered (`store.gathering`).
"""

from __future__ import annotations

import re

from psycopg import sql

LONGEST = 200  # characters that are looked for
_WORD = 128  # characters of a word that are kept, as in the migration

_BETWEEN = re.compile(r"[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+")

# Lower case is what the database makes of it, there and here.
FOUND = sql.SQL(
    "alert_id IN (SELECT alert_id FROM alert_text WHERE words @@ lower(%(text)s)::tsquery)"
)


def sought(text: str) -> str:
    """A tsquery, as text, of what somebody looks for; of nothing but spaces one that finds
    nothing. Text must not contain NUL."""
    return " & ".join(map(_term, text[:LONGEST].split()))


def _term(term: str) -> str:
    """An id that begins so, or the words that it parts into."""
    words = [word for word in _BETWEEN.split(term) if word]
    whole = _begins(term)
    if not words or words == [term]:
        return whole
    return f"({whole} | {' & '.join(map(_begins, words))})"


def _begins(word: str) -> str:
    quoted = word[:_WORD].replace("\\", "\\\\").replace("'", "''")
    return f"'{quoted}':*"
