"""The programs inside the supervised child: the only files that import dv_processing, and aedat for salvage.

    python -P -m streams.dv_child       # then speak the protocol of streams/isolation.py on stdin and stdout
"""
