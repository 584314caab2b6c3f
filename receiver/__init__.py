"""The receiving end: the core that turns packets into frames, and the decoders.

From Python: `receiver.codecs.DECODERS` has the decoders by codec, `receiver.generator.Generator` draws what
GSC's tells it to, `receiver.receiver.Receiver` is the core.
"""
