"""What decides: the wire protocol as pure machines, without sockets, clocks or dice."""
