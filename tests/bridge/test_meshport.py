"""Mesh port: what stands in for the mesh in tests keeps its promises."""

from overlay_edge.bridge.meshport import MeshPort
from overlay_edge.proto.effects import Accepted, Deliver, Shed
from tests.support.fake_mesh import FakeMesh


async def test_everybody_hears_a_message_once_its_publisher_too() -> None:
    mesh = FakeMesh(1, 2)
    ports: list[MeshPort] = [*mesh.ports]
    hearings = [port.subscribe("a") for port in ports]
    assert ports[0].publish("a", b"1") == Accepted(1, 1)
    assert ports[0].publish("b", b"2") == Accepted(2, 1)
    assert ports[0].publish("a", b"3") == Accepted(1, 2)
    for hearing in hearings:
        found = []
        async for event in hearing:
            assert isinstance(event, Deliver)
            found.append((event.publisher, event.seq, event.data))
            if len(found) == 2:
                break
        assert found == [(b"\1" * 32, 1, b"1"), (b"\1" * 32, 2, b"3")]
        hearing.close()
        assert [event async for event in hearing] == []


def test_what_is_too_large_or_too_much_is_shed() -> None:
    (port,) = FakeMesh(1).ports
    assert port.publish("a", bytes(65_537)) == Shed("too_large", 0)
    port.sheds.append(Shed("rate", 5))
    assert port.publish("a") == Shed("rate", 5)
    assert port.publish("a") == Accepted(1, 1)
