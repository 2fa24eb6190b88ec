"""What the admin plane sees is a shape, not a parent, and starts at nothing."""

from overlay_edge.admin.views import Counters, View
from tests.support.hand_view import HandView


def test_any_object_of_the_right_shape_is_a_view() -> None:
    view: View = HandView()
    assert view.counters() == Counters()


def test_a_node_that_did_nothing_counts_nothing() -> None:
    assert not any(getattr(Counters(), name) for name in Counters.__slots__)
