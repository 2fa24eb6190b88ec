"""What a node holds under load, shown on a real process: `python -m tests.soak`."""
