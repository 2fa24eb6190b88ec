"""Starts the service: Python runs this folder, which makes it the place modules come from."""

import sys

from overlay_edge.cli import entry

sys.exit(entry())
