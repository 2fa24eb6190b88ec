"""`ronctl`, the operator's tool: one file per verb, all from outside the node."""
