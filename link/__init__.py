"""What both ends agree on, and what lies between them: wire format, channel, repair, journal.

From Python: `link.journal.read` gives a run's events, packets and pictures, `link.packet.parse` and
`link.fragment.reassemble` take packets apart, `link.channel.channel.Channel` carries them, `link.conductor.Conductor`
runs two ends over it; `link.analysis.analyst.Analyst` runs vision models on a picture.
Errors are those of `link.errors`.
"""
