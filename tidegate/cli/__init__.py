"""The `tidegate` command. Each command is a module beside this one that says what it starts."""

from tidegate.cli.main import main

__all__ = ["main"]
