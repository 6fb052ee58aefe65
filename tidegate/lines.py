"""Text files, line by line in bounded memory: JSON lines and CSV, plain or gzipped.

A record is one line, also in CSV: a quoted cell does not go on in the next line. So a broken quote
costs its own line and never the rest of the file, and a record's number is its line's.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

LINE_BYTES = 65_536  # a longer line is cut off and taken for malformed
_KEPT_BYTES = 20_000  # of such a line: enough for a dead letter's payload
_BOM = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """Consecutive lines without their ends. `start` is the first one's number; the lines at the
    places in `too_long` are cut off."""

    start: int
    lines: list[bytes]
    too_long: frozenset[int]


def blocks(path: Path, *, skip: int, start: int, size: int) -> Iterator[Block]:
    """The lines from number `start` on, `size` at a time, where line 0 is the one after the first
    `skip` lines of the file. Raises `OSError`, `EOFError` or `zlib.error` where the file cannot be
    read."""
    with _open(path) as file:
        for number in range(skip + start):
            if not _line(file, first=number == 0)[0]:
                return
        while True:
            lines: list[bytes] = []
            too_long = set()
            while len(lines) < size:
                line, cut = _line(file, first=skip + start + len(lines) == 0)
                if not line:
                    break
                if cut:
                    too_long.add(len(lines))
                lines.append(line.rstrip(b"\r\n"))
            if lines:
                yield Block(start, lines, frozenset(too_long))
            if len(lines) < size:
                return
            start += size


def head(path: Path) -> bytes:
    """The first line, without its end; empty if there is none. Raises as `blocks` does."""
    with _open(path) as file:
        return _line(file, first=True)[0].rstrip(b"\r\n")


def cells(line: bytes) -> list[str]:
    """The cells of a line of CSV (RFC 4180, comma, double quotes).

    Raises `ValueError` if the line is not UTF-8 or its quotes are broken.
    """
    text = line.decode()
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as ex:
        raise ValueError(f"not a line of CSV: {ex}") from ex


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb", buffering=1 << 20)


def _line(file: IO[bytes], *, first: bool) -> tuple[bytes, bool]:
    """The next line with its end, and whether it was cut off; empty at the end of the file."""
    line = file.readline(LINE_BYTES + 1)
    if first and line.startswith(_BOM):
        line = line[len(_BOM) :] or b"\n"
    if len(line) <= LINE_BYTES or line.endswith(b"\n"):
        return line, False
    while (rest := file.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
        pass
    return line[:_KEPT_BYTES], True
