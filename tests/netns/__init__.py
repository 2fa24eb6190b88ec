"""Nodes as processes of their own, each in a network of its own, which can be cut."""
