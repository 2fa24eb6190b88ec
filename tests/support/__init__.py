"""Honest small stand-ins: a clock moved by hand, two sessions back to back."""
