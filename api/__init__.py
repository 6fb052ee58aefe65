"""The HTTP API and its pages: reads what the dataflow stored. `create_app` is all of it."""

from api.app import create_app

__all__ = ["create_app"]
