"""What both ends agree on, and what lies between them: wire format, channel, repair, journal."""
