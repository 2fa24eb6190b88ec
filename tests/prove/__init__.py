"""Proves the RAM-only promise by looking for planted secrets in all memory of a real guest."""
