"""Every section of the config as a dataclass; the defaults are safe and stay on loopback."""

from dataclasses import dataclass, field
from enum import StrEnum

from overlay_edge.config.values import GIB, KIB, MIB


class PqMode(StrEnum):
    """Key exchange a link may use; ``off`` is read as ``classical``."""

    CLASSICAL = "classical"
    HYBRID = "hybrid"


class LogLevel(StrEnum):
    """Least important log line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class OapConfig:
    """Where peers and clients connect; port 0 takes any free one."""

    addr: str = "127.0.0.1:9444"
    pq_mode: PqMode = PqMode.HYBRID


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Where health, metrics and status are read."""

    addr: str = "127.0.0.1:9600"


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files, both or neither; without them the identity is made in RAM at start."""

    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """What one peer may use: open requests, 64 KiB frames ahead of a credit, requests/s."""

    inflight_frames: int = 64
    send_window_frames: int = 16
    max_rps: int = 500


@dataclass(frozen=True, slots=True)
class TimeoutsConfig:
    """How long a started read, a blocked write and a silent link are kept."""

    read_s: float = 5.0
    write_s: float = 5.0
    idle_s: float = 15.0


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """What all peers together may use: connections, handshakes, open requests, shared bytes."""

    max_conns: int = 1024
    max_inflight: int = 512
    max_handshakes: int = 64
    half_open_per_addr: int = 16
    accept_rate: int = 1000
    pool_bytes: int = 32 * MIB


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """What one capability, or one address without any, may use over all its sessions."""

    requests: int = 1000
    traffic_bytes: int = 64 * MIB
    streams: int = 256
    max_keys: int = 4096


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Objects in RAM; an empty path keeps them in memfds, else it is a tmpfs directory."""

    path: str = ""
    object_max_bytes: int = 64 * MIB
    total_max_bytes: int = 96 * MIB
    max_objects: int = 4096
    ttl_s: float = 3600.0
    purge_interval_s: float = 1.0


@dataclass(frozen=True, slots=True)
class ReadinessConfig:
    """Fractions of a limit: not ready from ``high`` on, ready again below ``low``.

    ``dwell_s`` is for exact counts, ``dwell_down_s`` and ``dwell_up_s`` are for what is
    measured now and then: how long a mark must have been passed before that counts.
    """

    high: float = 0.85
    low: float = 0.75
    dwell_s: float = 0.0
    dwell_down_s: float = 2.0
    dwell_up_s: float = 5.0
    canary_interval_s: float = 5.0


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """What is kept of the audit in RAM, and where it is sent."""

    records: int = 1024
    ring_bytes: int = MIB
    sink: str = ""
    ca: str = ""
    credentials: str = ""
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Who may change a running node through the admin plane."""

    local: bool = True
    max_streams: int = 8


class OnRemoval(StrEnum):
    """What is done when the medium of the machine is taken out."""

    NOTHING = "nothing"
    PURGE = "purge"
    PANIC = "panic"


@dataclass(frozen=True, slots=True)
class PanicConfig:
    """What wipes a node beside its operator: a medium taken out, a button."""

    medium: str = ""
    on_removal: OnRemoval = OnRemoval.NOTHING
    gpio: str = ""


class AuthMode(StrEnum):
    """What needs a capability: nothing, what changes something, or everything."""

    NONE = "none"
    WRITE = "write"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Which public keys sign capabilities, what needs one, what was revoked."""

    mode: AuthMode = AuthMode.NONE
    keys: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    max_revoked: int = 4096
    leeway_s: float = 120.0


@dataclass(frozen=True, slots=True)
class DownstreamConfig:
    """The services behind this edge, and how much patience they are given."""

    index: str = ""
    storage: str = ""
    mailbox: str = ""
    ca: str = ""
    required: tuple[str, ...] = ()
    timeout_s: float = 2.0
    deadline_s: float = 8.0
    retries: int = 2
    failures: int = 5
    cooldown_s: float = 1.0
    probe_s: float = 5.0
    max_flights: int = 32
    object_max_bytes: int = GIB
    cache: float = 0.5
    write_through: bool = False


@dataclass(frozen=True, slots=True)
class GossipConfig:
    """How this node takes part in the mesh, and what that may cost.

    ``dedup_ids`` is the size of one of two generations; ``rate`` is messages per second, of
    each peer and of this node.
    """

    enabled: bool = False
    peers: tuple[str, ...] = ()
    advertise: str = ""
    cap: str = ""
    cap_key: str = ""
    active: int = 5
    passive: int = 30
    relay_fanout: int = 8
    rate: int = 1000
    max_message_bytes: int = 64 * KIB
    cache_bytes: int = 24 * MIB
    cache_age_s: float = 120.0
    dedup_ids: int = 32_768
    antientropy_s: float = 10.0
    max_topics: int = 1024
    max_topics_per_peer: int = 128


@dataclass(frozen=True, slots=True)
class DiscoveryConfig:
    """Whether nodes of the local network are looked for, and whether this one can be found."""

    enabled: bool = False
    announce: bool = False
    interfaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """Which broker this node is a bridge to, and what crosses.

    Attributes:
        backlog_bytes: Of messages that wait for the broker; as much again for those that
            another bridge carries, and for those that came from the broker.
        will: Prefix under which bridges tell each other, and everybody, how they are.
        telemetry: Prefix of what this node tells of itself; empty = nothing.
    """

    url: str = ""
    insecure: bool = False
    ca: str = ""
    credentials: str = ""
    out_topics: tuple[str, ...] = ()
    in_topics: tuple[str, ...] = ()
    qos: int = 1
    backlog_bytes: int = MIB
    backlog_messages: int = 1024
    will: str = "overlay-edge"
    telemetry: str = ""
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What one session needs to know; derived, not a section of the file.

    Attributes:
        node: This node's id in the mesh, in hex; empty = it takes no part.
        addr: Where other nodes dial it, or empty.
    """

    handshake_timeout_s: float
    idle_timeout_s: float
    read_timeout_s: float
    inflight_frames: int
    send_window_frames: int
    max_rps: int
    pq: str
    node: str = ""
    addr: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """Every option; the defaults are safe and stay on loopback."""

    profile: str = "auto"
    amnesia: bool = True
    handshake_timeout_s: float = 3.0
    drain_deadline_s: float = 3.0
    log_level: LogLevel = LogLevel.INFO
    memory_budget_bytes: int = 512 * MIB
    oap: OapConfig = field(default_factory=OapConfig)
    admin: AdminConfig = field(default_factory=AdminConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    peer: PeerConfig = field(default_factory=PeerConfig)
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    transport: TransportConfig = field(default_factory=TransportConfig)
    quota: QuotaConfig = field(default_factory=QuotaConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    readiness: ReadinessConfig = field(default_factory=ReadinessConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    panic: PanicConfig = field(default_factory=PanicConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    downstream: DownstreamConfig = field(default_factory=DownstreamConfig)
    gossip: GossipConfig = field(default_factory=GossipConfig)
    discovery: DiscoveryConfig = field(default_factory=DiscoveryConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)

    def session(self, pq: str) -> SessionConfig:
        """What a session gets; ``pq`` is the key exchange its link really negotiated."""
        return SessionConfig(
            handshake_timeout_s=self.handshake_timeout_s,
            idle_timeout_s=self.timeouts.idle_s,
            read_timeout_s=self.timeouts.read_s,
            inflight_frames=self.peer.inflight_frames,
            send_window_frames=self.peer.send_window_frames,
            max_rps=self.peer.max_rps,
            pq=pq,
        )
