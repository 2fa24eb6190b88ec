"""The certificate: one identity for the life of the process, or the one that is configured."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from overlay_edge.certificate import Certificate
from overlay_edge.config import DEFAULTS, PqMode
from overlay_edge.errors import IdentityError


def test_nothing_is_shown_before_there_is_something_to_show() -> None:
    with pytest.raises(IdentityError, match="no TLS identity"):
        _ = Certificate(has_aes=True).context


def test_a_reload_keeps_the_ephemeral_identity_that_clients_have_pinned() -> None:
    certificate = Certificate(has_aes=True)
    first = certificate.prepare(DEFAULTS.tls, PqMode.HYBRID)
    certificate.show(first)
    second = certificate.prepare(DEFAULTS.tls, PqMode.CLASSICAL)
    assert certificate.context is first.context
    certificate.show(second)
    assert certificate.context is second.context is not first.context
    assert second.fingerprint == first.fingerprint


def test_what_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    certificate = Certificate(has_aes=True)
    certificate.show(certificate.prepare(DEFAULTS.tls, PqMode.HYBRID))
    before = certificate.context
    bad = replace(DEFAULTS.tls, cert=str(tmp_path / "none.pem"), key=str(tmp_path / "none.pem"))
    with pytest.raises(IdentityError, match=r"tls\.cert"):
        certificate.prepare(bad, PqMode.HYBRID)
    assert certificate.context is before


def test_two_processes_are_two_identities() -> None:
    one, two = (Certificate(has_aes=True).prepare(DEFAULTS.tls, PqMode.HYBRID) for _ in range(2))
    assert one.fingerprint != two.fingerprint


def test_what_is_forgotten_is_gone_and_shown_to_nobody() -> None:
    certificate = Certificate(has_aes=True)
    shown = certificate.prepare(DEFAULTS.tls, PqMode.HYBRID)
    certificate.show(shown)
    context = weakref.ref(shown.context)
    certificate.forget()
    del shown
    gc.collect()
    assert context() is None
    assert certificate._ephemeral is None
    with pytest.raises(IdentityError):
        _ = certificate.context


def test_what_is_forgotten_cannot_be_used_and_what_is_made_after_is_another() -> None:
    certificate = Certificate(has_aes=True)
    first = certificate.prepare(DEFAULTS.tls, PqMode.HYBRID)
    certificate.show(first)
    certificate.forget()
    certificate.forget()
    with pytest.raises(IdentityError, match="no TLS identity"):
        _ = certificate.context
    assert certificate.prepare(DEFAULTS.tls, PqMode.HYBRID).fingerprint != first.fingerprint
