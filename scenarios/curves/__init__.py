"""What a sweep comes to: accuracy against bandwidth, one line a codec, and the tables and pages made of it.

tables of a sweep -> points (frames of all seeds pooled) -> curves -> figures, tables, page
"""
