"""Talks to neighbours: the services behind this edge."""
