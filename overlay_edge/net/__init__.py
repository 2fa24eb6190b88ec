"""What moves bytes: transports behind one interface. None of them knows what a frame is."""
