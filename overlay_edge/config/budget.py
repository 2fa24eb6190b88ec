"""Budget: the worst case of all limits together, in bytes.

Every queue, window and cache has a limit of its own; this is their sum when all are full at
once. The figures for one connection and for the program itself are measured and rounded up
(`make bench`); the rest is arithmetic.
"""

from typing import NamedTuple

from overlay_edge.config import (
    DiscoveryConfig,
    DownstreamConfig,
    GossipConfig,
    MqttConfig,
    PeerConfig,
    StoreConfig,
    TransportConfig,
)
from overlay_edge.config.values import KIB, MIB

PROGRAM_BYTES = 64 * MIB  # Python, libraries and our own tables: 53 to 61 measured
TLS_BYTES = 40 * KIB  # one idle connection: 33 measured
FRAME_BYTES = 69 * KIB  # a chunk with header and capability, while it is read
READ_BYTES = 64 * KIB  # what came before a peer was made to wait; with all these: 187 measured
CONTROL_BYTES = 32 * KIB  # answers that wait unread
REQUEST_BYTES = 1 * KIB  # one open request: its entry, its answer's head
OBJECT_BYTES = 3 * KIB  # its entry and its labels at their largest: 2.2 measured
FLIGHT_BYTES = 13 * 64 * KIB  # an object fetched: 5 chunks held, the HTTP client's buffers
# A bridge: its libraries 3 measured, ids that were seen 2, 16 messages of 128 KiB that the broker
# may send before it has answers, and 32 of 64 KiB on their way to it, in two places.
MQTT_BYTES = 11 * MIB
RINGS_BYTES = 8 * MIB  # bus, audit and quota tables
GOSSIP_ID_BYTES = 115  # one id of a message that was seen: measured, like what follows
GOSSIP_TOPIC_BYTES = 14 * KIB  # a topic and four streams, each with a few holes
GOSSIP_PEER_BYTES = 3 * KIB  # rates, score and last faults of one link
GOSSIP_NEIGHBOUR_BYTES = 128 * KIB  # ids that wait for one that does not keep up
GOSSIP_LANE_BYTES = 512 * KIB  # messages that wait for such a one to read
GOSSIP_SUBSCRIBERS_BYTES = 2 * MIB  # messages that wait for all subscribers together
GOSSIP_BYTES = 3328 * KIB  # further holes, ids that are missing, offers, objects pulled
LAN_BYTES = 512 * KIB  # 64 nodes, and 16 KiB of packets as objects: 300 KiB measured


class Row(NamedTuple):
    """One kind of thing: how many there may be, and what each may hold."""

    name: str
    number: int
    each_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of them at once."""
        return self.number * self.each_bytes


def worst_case(
    transport: TransportConfig,
    peer: PeerConfig,
    store: StoreConfig,
    downstream: DownstreamConfig | None = None,
    gossip: GossipConfig | None = None,
    discovery: DiscoveryConfig | None = None,
    mqtt: MqttConfig | None = None,
) -> tuple[Row, ...]:
    """Everything that is bounded, and its bound."""
    # Requests are bounded for one peer and for all together; the smaller sum holds.
    requests = min(transport.max_inflight, transport.max_conns * peer.inflight_frames)
    connection = TLS_BYTES + FRAME_BYTES + READ_BYTES + CONTROL_BYTES
    has_lan = discovery is not None and (discovery.enabled or discovery.announce)
    flights = downstream.max_flights if downstream and downstream.storage else 0
    is_bridge = mqtt is not None and bool(mqtt.url)
    return (
        Row("program", 1, PROGRAM_BYTES),
        Row("connections", transport.max_conns, connection),
        Row("open requests", requests, REQUEST_BYTES),
        Row("shared pool", 1, transport.pool_bytes),
        Row("objects", 1, store.total_max_bytes),
        Row("objects' entries", store.max_objects, OBJECT_BYTES),
        Row("objects fetched", flights, FLIGHT_BYTES),
        Row("MQTT", int(is_bridge), MQTT_BYTES),
        # To the broker, from the broker, held for another bridge, telemetry.
        Row("MQTT backlogs", 4 * is_bridge, mqtt.backlog_bytes if mqtt else 0),
        Row("rings and tables", 1, RINGS_BYTES),
        Row("gossip", 1, gossip_bytes(gossip, transport) if gossip and gossip.enabled else 0),
        Row("local network", 1, LAN_BYTES if has_lan else 0),
    )


def gossip_bytes(gossip: GossipConfig, transport: TransportConfig) -> int:
    """What the mesh may hold: messages, ids of two generations, topics with their streams."""
    ids = 2 * gossip.dedup_ids * GOSSIP_ID_BYTES
    topics = gossip.max_topics * GOSSIP_TOPIC_BYTES
    peers = transport.max_conns * GOSSIP_PEER_BYTES + (
        gossip.active * (GOSSIP_NEIGHBOUR_BYTES + GOSSIP_LANE_BYTES)
    )
    waiting = GOSSIP_SUBSCRIBERS_BYTES
    return gossip.cache_bytes + ids + topics + peers + waiting + GOSSIP_BYTES


def total_bytes(rows: tuple[Row, ...]) -> int:
    """The sum of all rows."""
    return sum(row.total_bytes for row in rows)
