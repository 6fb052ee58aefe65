"""Tidegate: real-time payment-fraud detection that learns online."""

__version__ = "0.1.0"
