"""The receiving end: the core that turns packets into frames, and the decoders."""
