"""Real hosts: nodes as processes of their own, each with a network of its own, on cut wires."""
