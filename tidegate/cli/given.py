"""What every command is given: the settings, logs as they say, and who calls."""

from __future__ import annotations

import getpass
import os

from tidegate import logs
from tidegate.settings import Settings


def settings() -> Settings:
    """The settings of the environment; logging is set up by them. Raises `SettingError`."""
    found = Settings.from_environ(os.environ)
    logs.configure(found.monitoring.log_level, found.monitoring.log_format)  # type: ignore[arg-type]
    return found


def actor() -> str:
    """Who calls, for the audit."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return "cli"
