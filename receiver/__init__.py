"""The receiving end: the core that turns packets into frames, and the decoders.

From Python: `receiver.codecs.DECODERS` has the decoders by codec, `receiver.analysis.analyst.Analyst` runs models on a
picture, `receiver.receiver.Receiver` is the core.
"""
