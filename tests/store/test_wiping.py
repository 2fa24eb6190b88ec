"""What is told to whoever goes on with bytes that are wiped."""

from overlay_edge.store.wiping import Cause, purged, revoked


def test_a_purge_is_over_soon_and_a_revocation_is_not() -> None:
    assert (purged().code, purged().token) == (503, "busy")
    assert purged().retry_after_ms
    assert (revoked().code, revoked().token, revoked().retry_after_ms) == (403, "denied", None)


def test_every_refusal_is_a_new_one_so_that_no_traceback_grows() -> None:
    assert purged() is not purged()


def test_the_causes_are_a_fixed_set() -> None:
    assert list(Cause) == ["expired", "purge", "revoke", "drain", "panic", "medium"]
