"""Boots a built image file in QEMU, through real firmware, and tests it from outside."""
