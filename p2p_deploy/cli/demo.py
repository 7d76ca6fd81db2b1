"""``p2p demo``."""

from __future__ import annotations


def demo() -> None:
    """Do it all."""
