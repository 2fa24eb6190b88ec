"""Checks: what has to hold before an edge may be sent work, and what it means if it does not.

A node declares the ones that it has parts for; ``readiness`` keeps them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from overlay_edge.config import (
    DiscoveryConfig,
    DownstreamConfig,
    MqttConfig,
    OnRemoval,
    PanicConfig,
)

LEAVE_JITTER_S = 30.0  # nodes that share a service do not all leave at once
REQUIRED_LEAVE_S = 30.0  # a restart of what a fleet shares takes less; guess
SAMPLER = "sampler"


class Weight(Enum):
    """What a failing check means for work in progress."""

    VITAL = "nothing can be served"
    SOFT = "open work goes on, new work should go elsewhere"
    NOTICE = "everything is served, somebody should look"
    SHARED = "a fleet leans on it: VITAL until the node was ready once, then NOTICE"


class Dwell(Enum):
    """How long a gauge's mark must have been passed before that counts."""

    NONE = "flips at once"
    BACK = "an exact count: leaves at once, comes back after `dwell`"
    BOTH = "measured now and then: leaves after `dwell_down`, comes back after `dwell_up`"


@dataclass(frozen=True, slots=True)
class Check:
    """A check as it is declared.

    Attributes:
        name: For people, probes and metrics.
        weight: What it means when it fails.
        starts_ok: Holds until somebody says otherwise.
        clears: What makes it hold again; a gauge says its own numbers instead.
        dwell: For gauges.
        leave_after_s: A SHARED check that failed for this long is SOFT; None = never.
    """

    name: str
    weight: Weight = Weight.VITAL
    starts_ok: bool = False
    clears: str = ""
    dwell: Dwell = Dwell.NONE
    leave_after_s: float | None = None


CHECKS = (  # what every node has
    Check("listeners", clears="the listeners are bound"),
    Check("bus", clears="the bus is up"),
    # A node on safe defaults is reachable, but not as asked.
    Check("config", Weight.SOFT, clears="the mistake is corrected and the config read again"),
    Check("store", clears="the object store is open"),
    Check("tls", clears="an identity is loaded and a handshake with it succeeds"),
    Check("admin", clears="the admin plane answers"),
    Check("inflight", Weight.SOFT, dwell=Dwell.BACK),
    Check("store_space", Weight.SOFT, dwell=Dwell.BACK),
    Check("draining", starts_ok=True, clears="nothing: this process is about to end"),
)
SAMPLED = (  # what somebody looks at four times a second
    Check(SAMPLER, clears="pressure is sampled again"),
    Check("loop_lag", Weight.SOFT, starts_ok=True, dwell=Dwell.BOTH),
    Check("memory", Weight.SOFT, starts_ok=True, dwell=Dwell.BOTH),
    Check("memory_stall", Weight.SOFT, starts_ok=True, dwell=Dwell.BOTH),  # not every kernel says
    Check("fds", Weight.SOFT, starts_ok=True, dwell=Dwell.BOTH),
    Check("bus_lag", Weight.SOFT, starts_ok=True, dwell=Dwell.BOTH),
    # Nothing starts without the promise; while it is broken, the next object should go elsewhere.
    Check("amnesia", Weight.SOFT, starts_ok=True, clears="the rules hold: ronctl amnesia report"),
)
CANARY = Check("canary", Weight.SOFT, starts_ok=True, clears="the node can dial itself in time")
CLOCK = Check("clock", Weight.NOTICE, clears="a signed time or the network sets the clock")
MEDIUM = Check("medium", Weight.NOTICE, starts_ok=True, clears="the medium is back")
BUTTON = Check("panic_button", Weight.NOTICE, clears="the line can be had at the next start")
MQTT = Check("mqtt", Weight.NOTICE, clears="the broker lets this bridge in")
AUTH = Check("auth", Weight.NOTICE, clears="a public key to check capabilities with is loaded")

DISCOVERY = Check(
    "discovery", Weight.NOTICE, starts_ok=True, clears="the local network can be heard and told"
)


def panics(config: PanicConfig) -> tuple[Check, ...]:
    """A check for each thing that is watched and would wipe the node."""
    is_watched = config.medium and config.on_removal is not OnRemoval.NOTHING
    return (*((MEDIUM,) if is_watched else ()), *((BUTTON,) if config.gpio else ()))


def downstream(name: str, *, required: bool, jitter_s: float = 0.0) -> Check:
    """A service behind this node that the whole fleet shares.

    At the start the node waits for it. Later all nodes would leave at the same moment, which
    helps nobody: so they only say that it fails, unless it is required and fails for long.

    Args:
        name: Its name in the config.
        required: The node is of no use without it.
        jitter_s: Added to the time it may fail, different on each node.
    """
    return Check(
        f"downstream.{name}",
        Weight.SHARED,
        clears=f"{name} answers again",
        leave_after_s=REQUIRED_LEAVE_S + jitter_s if required else None,
    )


def downstreams(config: DownstreamConfig, dice: Callable[[], float]) -> tuple[Check, ...]:
    """A check for each service that is configured.

    Args:
        config: Which they are, and which of them the node is of no use without.
        dice: 0 to 1; spreads the moment at which the nodes of a fleet leave.
    """
    return tuple(
        downstream(name, required=name in config.required, jitter_s=LEAVE_JITTER_S * dice())
        for name in ("index", "storage", "mailbox")
        if getattr(config, name)
    )


def checks_of(
    panic: PanicConfig,
    downstream: DownstreamConfig,
    discovery: DiscoveryConfig,
    mqtt: MqttConfig,
    dice: Callable[[], float],
) -> tuple[Check, ...]:
    """Every check that a node with this config has."""
    own = (*CHECKS, *SAMPLED, CANARY, CLOCK, AUTH)
    nearby = (DISCOVERY,) if discovery.enabled or discovery.announce else ()
    beside = (*nearby, *((MQTT,) if mqtt.url else ()))
    return (*own, *panics(panic), *downstreams(downstream, dice), *beside)
