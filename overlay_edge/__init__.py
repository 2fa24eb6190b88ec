"""overlay_edge: the session and gossip plane of an overlay network, kept in RAM only."""

__version__ = "0.1.0"
