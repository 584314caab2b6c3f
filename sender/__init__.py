"""The sending end: cameras, encoders and the core that turns frames into packets."""
