"""Tidegate: a self-hosted AI agent gateway whose memory and disk stay flat."""

__version__ = "0.1.0"
