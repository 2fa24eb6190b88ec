"""`python -m overlay_edge` is `overlay-edge`."""

from overlay_edge.cli import entry

if __name__ == "__main__":
    entry()
