"""The simulator: many nodes of the mesh in one process, in time that only exists here."""
