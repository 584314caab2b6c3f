"""Many runs of one scenario with other settings: planned, carried out by workers, kept in SQLite, told as tables.

plan -> cells, grouped by what they encode -> workers (processes, Ray) -> outcomes -> state -> tables
                                                 |      ^
                                                 v      | payloads, pictures, scores, findings
                                                 caches on this machine, by content
"""
