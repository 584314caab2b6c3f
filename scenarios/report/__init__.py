"""The page of one run: what was sent and received, packet by packet, and what it came to."""
