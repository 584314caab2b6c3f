"""The sending end: cameras, encoders and the core that turns frames into packets.

From Python: `sender.camera.open_source` gives the pictures of any source, `sender.codecs.ENCODERS` the encoders by
codec, `sender.sender.Sender` is the core.
"""
