"""Builds flashable images from Debian packages, pinned wheels and the trees in `overlays/`."""
