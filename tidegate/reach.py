"""Lets another OS user reach a file, for the one case that root starts a server as that user.

Root's own directories are often closed (`/root`, a private checkout). Opening them to everybody
would be too much, so the one user is given the right to pass (not to list) by an access control
list on each closed directory of the way.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import struct
import subprocess
import time
from pathlib import Path

USER_SECONDS = 10  # to make the system user, while others may hold the user database

# The layout of the attribute is Linux's (include/uapi/linux/posix_acl_xattr.h): a version, then
# entries of tag, permissions and id in the order of their tags.
_ATTRIBUTE = "system.posix_acl_access"
_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_OWNER, _USER, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_PASS = 0o1


class UnreachableError(OSError):
    """A path cannot be opened to the user; the message says what to do in one line."""


def system_user(name: str) -> pwd.struct_passwd:
    """The system user of that name, made (without home and login) where it is missing.

    Needs root. Raises UnreachableError when it cannot be made.
    """
    deadline = time.monotonic() + USER_SECONDS
    while True:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", name]
        try:
            made = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise UnreachableError(f"no useradd here to make the OS user {name}: make it") from None
        if made.returncode == 0:
            continue
        # Another process may be making the same user, or hold the lock on the user database.
        if time.monotonic() > deadline:
            raise UnreachableError(f"the OS user {name} cannot be made: {made.stderr.strip()}")
        time.sleep(0.1)


def let_reach(path: Path, user: pwd.struct_passwd) -> None:
    """Lets the user pass every directory on the way to `path`; the path itself is not changed.

    Needs root. Raises UnreachableError where the file system knows no access control lists.
    """
    for folder in reversed(path.parents):
        found = folder.stat()
        if found.st_mode & stat.S_IXOTH or found.st_uid == user.pw_uid:
            continue
        try:
            _let_pass(folder, stat.S_IMODE(found.st_mode), user.pw_uid)
        except OSError as ex:
            raise UnreachableError(
                f"{folder} is closed to the OS user {user.pw_name} ({ex.strerror}): "
                "choose a directory elsewhere, or run as an ordinary user"
            ) from ex


def _let_pass(folder: Path, mode: int, uid: int) -> None:
    try:
        raw = os.getxattr(folder, _ATTRIBUTE)[len(_VERSION) :]
        entries = [_ENTRY.unpack_from(raw, at) for at in range(0, len(raw), _ENTRY.size)]
    except OSError as ex:
        if ex.errno != errno.ENODATA:
            raise
        entries = [
            (_OWNER, mode >> 6 & 7, _NO_ID),
            (_GROUP, mode >> 3 & 7, _NO_ID),
            (_OTHER, mode & 7, _NO_ID),
        ]
    entries = [entry for entry in entries if entry[0] != _USER or entry[2] != uid]
    entries.append((_USER, _PASS, uid))
    # The mask bounds what named users and groups get. Where there was none, the group's own
    # rights did that job, so they and the new right together change nobody else's.
    mask = [permissions for tag, permissions, _ in entries if tag in (_MASK, _GROUP)]
    bound = (mask[-1] if any(tag == _MASK for tag, _, _ in entries) else mask[0]) | _PASS
    entries = [entry for entry in entries if entry[0] != _MASK] + [(_MASK, bound, _NO_ID)]
    packed = b"".join(_ENTRY.pack(*entry) for entry in sorted(entries))
    os.setxattr(folder, _ATTRIBUTE, _VERSION + packed)
