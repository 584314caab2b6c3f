"""A codec as anybody might add one: a syntax, an encoder, a decoder, and a row for each."""
