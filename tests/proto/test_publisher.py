"""Publisher: numbers without holes, and no epoch for two topics."""

from overlay_edge.proto.publisher import MAX_EPOCH, Publisher

START = 1_700_000_000_000


def test_each_topic_counts_from_one_in_an_epoch_of_its_own() -> None:
    own = Publisher(START)
    epoch, seq = own.number("a")
    assert (epoch, seq) == (START << 16, 1)
    assert own.number("a") == (epoch, 2)
    assert own.number("b") == (epoch + 1, 1)
    assert own.number("a") == (epoch, 3)
    assert "a" in own
    assert len(own) == 2


def test_a_start_a_millisecond_later_is_above_all_topics_of_the_one_before() -> None:
    own = Publisher(START)
    last = max(own.number(str(number))[0] for number in range(65_536))
    assert Publisher(START + 1).number("a")[0] > last


def test_what_is_ours_is_not_doubted() -> None:
    own = Publisher(START)
    epoch, _ = own.number("a")
    assert not own.heard("a", epoch, 1)
    assert not own.heard("a", epoch - 1, 99)  # of an earlier life
    assert own.number("a") == (epoch, 2)


def test_a_later_epoch_under_our_name_is_outrun() -> None:
    own = Publisher(START)
    epoch, _ = own.number("a")
    own.number("b")
    assert own.heard("a", epoch + 1000, 1)
    assert own.number("a") == (epoch + 1001, 1)
    assert own.number("b") == (epoch + 1, 2)  # nobody claimed another


def test_a_number_we_have_not_used_yet_is_not_ours() -> None:
    own = Publisher(START)
    epoch, _ = own.number("a")
    assert own.heard("a", epoch, 2)
    assert own.number("a") == (epoch + 1, 1)


def test_an_epoch_that_leaves_no_room_is_not_believed() -> None:
    own = Publisher(START)
    assert own.heard("a", MAX_EPOCH + 1, 1)
    assert own.number("a") == (START << 16, 1)


def test_a_topic_that_was_forgotten_begins_anew() -> None:
    own = Publisher(START)
    epoch, _ = own.number("a")
    own.forget("a")
    assert own.number("a") == (epoch + 1, 1)
