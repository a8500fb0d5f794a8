"""Ingest: event packets, frames, time, windows, simulation and recordings, in numpy.

    from streams.sources import open_source
    with open_source("recording.aedat4") as source:
        for item in source: ...          # an event packet (structured array) or a Frame
"""
