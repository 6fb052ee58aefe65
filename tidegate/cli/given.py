"""What every command is given: the settings, and logs as they say."""

from __future__ import annotations

import os

from tidegate import logs
from tidegate.settings import Settings


def settings() -> Settings:
    """The settings of the environment; logging is set up by them. Raises `SettingError`."""
    found = Settings.from_environ(os.environ)
    logs.configure(found.monitoring.log_level, found.monitoring.log_format)  # type: ignore[arg-type]
    return found
