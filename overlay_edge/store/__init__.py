"""Keeps objects, in RAM only."""
