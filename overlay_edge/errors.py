"""Every way the edge can fail, in one tree.

    EdgeError                      something the operator or a peer must be told
      ConfigError                  a setting is wrong; carries every mistake found
      PolicyError                  the RAM-only promise cannot be kept
      BindError                    an address cannot be listened on
      IdentityError                certificate, key or TLS set-up unusable
      TransportError               the connection to a peer failed
        PinMismatch                the peer is not who we were told to expect
        IntegrityError             bytes arrived that do not match their address
      ProtocolError
        PeerViolation              the peer broke the wire contract; the link ends
        LocalMisuse                our own code called a machine wrongly; a bug
      Refused                      one request is refused; the link stays
      ObjectGone                   an object was purged while it was being read

What a peer is told travels with the error: ``code`` and ``token`` of ``oap1.md`` section 6.
"""

from collections.abc import Sequence


class EdgeError(Exception):
    """Base of all errors with a message for people.

    Args:
        message: What was found, where, and what was expected, in one line.
        hint: What the operator can do about it, or empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(EdgeError):
    """One or more settings are wrong.

    Args:
        mistakes: One line for each, starting with the full key.
    """

    def __init__(self, mistakes: Sequence[str], *, hint: str = "") -> None:
        super().__init__("; ".join(mistakes), hint=hint)
        self.mistakes = tuple(mistakes)


class PolicyError(EdgeError):
    """The RAM-only promise cannot be kept on this machine with these settings."""


class BindError(EdgeError):
    """An address cannot be listened on."""


class IdentityError(EdgeError):
    """The TLS identity or the TLS library's set-up is unusable."""


class TransportError(EdgeError):
    """The connection to a peer failed or never came up."""


class PinMismatch(TransportError):
    """The peer's certificate is not the pinned one."""


class IntegrityError(TransportError):
    """Received bytes do not hash to their address."""


class ProtocolError(EdgeError):
    """Base of what goes wrong in the wire protocol."""


class PeerViolation(ProtocolError):
    """The peer broke the wire contract; the link is closed after the refusal.

    Args:
        name: The refusal's name, as ``oap1.md`` section 2 spells it, such as ``BadFlags``.
        code: Status sent to the peer.
        token: Error token sent to the peer.
    """

    def __init__(
        self, name: str, message: str, *, code: int = 400, token: str = "bad_request"
    ) -> None:
        super().__init__(message)
        self.name = name
        self.code = code
        self.token = token


class LocalMisuse(ProtocolError):
    """Our own code used a machine against its rules."""


class Refused(EdgeError):
    """One request is refused; the session stays usable.

    Args:
        code: Status of ``oap1.md`` section 6.
        token: Error token of the same section.
        retry_after_ms: When asking again makes sense, or None.
    """

    def __init__(
        self, code: int, token: str, message: str, *, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.token = token
        self.retry_after_ms = retry_after_ms


class ObjectGone(EdgeError):
    """The object was purged while somebody was reading it."""
