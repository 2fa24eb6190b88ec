"""The drain alone: who may ask for it; what it does to a whole node is in `test_node`."""

import asyncio

from overlay_edge.bus import Bus, Health, Shutdown, Topic
from overlay_edge.drain import Drain
from overlay_edge.ending import Ending
from overlay_edge.host.journal import Journal
from overlay_edge.proto.chain import Kind


def make(bus: Bus) -> tuple[Drain, list[Kind]]:
    written: list[Kind] = []
    return Drain(bus, Journal("error", lambda line: None), written.append), written


async def test_asking_twice_is_asking_once() -> None:
    bus = Bus()
    heard = bus.subscribe(Topic.KERNEL)
    drain, _ = make(bus)
    drain.ask()
    drain.ask()
    await drain.asked()
    assert heard.depth == 1


async def test_a_shutdown_on_the_bus_is_an_order_too() -> None:
    bus = Bus()
    drain, _ = make(bus)
    waiting = asyncio.create_task(drain.asked())
    bus.publish(Health("links", ok=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    bus.publish(Shutdown())
    await waiting


async def test_an_order_that_a_flood_of_events_washed_away_is_still_heard() -> None:
    bus = Bus(4)
    drain, _ = make(bus)
    drain.ask()
    for number in range(10):
        bus.publish(Health(f"part {number}", ok=True))
    await drain.asked()


def test_the_last_word_says_what_is_next_and_a_signal_says_nothing() -> None:
    drain, _ = make(Bus())
    assert drain.ending is Ending.RESTART
    drain.ask(Ending.REBOOT)
    drain.ask(Ending.POWEROFF)
    drain.ask()
    assert drain.ending is Ending.POWEROFF
