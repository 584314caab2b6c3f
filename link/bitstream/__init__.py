"""Bitstream syntax shared by all codecs: integers only, no torch."""
