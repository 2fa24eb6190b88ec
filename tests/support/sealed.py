"""Secrets of known bytes."""

from overlay_edge.host.secret import Secret


def sealed(data: bytes) -> Secret:
    """A secret with these bytes."""
    secret = Secret(len(data))
    secret.add(data)
    return secret
