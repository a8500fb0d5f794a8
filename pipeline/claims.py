"""What the document that the project began with claims about cosine and acceptance.

Nobody measured these numbers; they are shown beside measured ones and marked "claimed".
"""

from __future__ import annotations

OVERHEAD = 0.1
"""Cost of drafting in plain steps."""

ACCEPTANCE = ((-1.0, 0.70, 0.0, 0.10), (0.70, 0.80, 0.15, 0.25), (0.80, 0.85, 0.25, 0.35), (0.85, 0.90, 0.35, 0.50),
              (0.90, 0.95, 0.50, 0.70), (0.95, 1.0, 0.70, 0.85))
"""Cosine from, to; chance that the token is accepted from, to."""

THRESHOLDS = ((0.70, 0.15, 2, 1.5), (0.75, 0.20, 4, 2.0), (0.80, 0.28, 6, 3.0), (0.85, 0.38, 10, 4.0),
              (0.90, 0.55, 15, 5.0), (0.95, 0.75, 25, 7.0))
"""Threshold of the cosine, acceptance rate, tokens accepted in a row, speed-up."""


def speedup(tau: float) -> float:
    """The document's formula E[accepted + 1] / (1 + overhead): leaves out the draft's length and the verify pass."""
    return tau / (1 + OVERHEAD)
