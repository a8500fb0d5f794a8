"""Links to a moment: source, time, question and settings in the address of the page.

    write_link("Bundled story", trace.header)              # "?source=Bundled+story&t=13&q=What...&drafter=vlm"
    link = read_link(dict(request.query_params), offered)  # a Link; what is missing or nonsense has its default

A link names a recording of the list, never a path.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlencode

from ui.looking_through import LONGEST_SPEC, MOST_SPECS
from ui.services import AskSettings

LONGEST = 500
"""Characters of a question, as in the question line."""
SHORTEST_S, LONGEST_S = 0.1, 5.0
"""Of the window of a question."""
HOTTEST, LEAST_TOP_P = 1.5, 0.05


@dataclass(frozen=True)
class Link:
    """What an address asks for. source: label of a recording; t_s: where the window ends; None = not said.
    filters: NAME[:VALUE] each, to look through."""

    source: str | None = None
    t_s: float | None = None
    question: str = ""
    window_s: float = 1.0
    settings: AskSettings = field(default_factory=AskSettings)
    filters: tuple[str, ...] = ()


def write_link(source: str | None, header: Mapping[str, Any]) -> str:
    """The query of an address for an answer; header: that of its trace. Settings at their defaults are left out."""
    default = AskSettings()
    values: dict[str, object] = {"source": source} if source else {}
    values |= {"t": round(header["end_s"], 3), "q": header["question"]}
    window_s = round(header["end_s"] - header["start_s"], 3)
    values |= {"window": window_s} if window_s != 1.0 else {}
    values |= {"filter": " ".join(header["filters"])} if header.get("filters") else {}
    values |= {of.name: header[of.name] for of in fields(AskSettings)
               if of.name in header and header[of.name] != getattr(default, of.name)}
    return "?" + urlencode(values)


def read_link(query: Mapping[str, str], offered: Mapping[str, Collection[str]]) -> Link:
    """The link of an address; values out of their bounds are brought back into them.

    offered: what may be named as drafter, rule and pair; anything else has its default.
    """
    window_s = _number(query.get("window"), 1.0, SHORTEST_S, LONGEST_S)
    t_s = _number(query.get("t"), -1.0, 0.0, 1e9)
    budget = round(_number(query.get("budget"), 0, 0, 16))
    named = {key: query[key] for key, names in offered.items() if query.get(key) in names}
    settings = AskSettings(temperature=round(_number(query.get("temperature"), 0.0, 0.0, HOTTEST), 3),
                           seed=round(_number(query.get("seed"), 0, 0, 2**31)), budget=budget or None,
                           top_k=round(_number(query.get("top_k"), 0, 0, 10**6)),
                           top_p=_number(query.get("top_p"), 1.0, LEAST_TOP_P, 1.0), **named)
    question = query.get("q", "").strip()[:LONGEST]
    return Link(query.get("source"), t_s if t_s >= 0 else None, question, window_s, settings,
                tuple(spec[:LONGEST_SPEC] for spec in query.get("filter", "").split()[:MOST_SPECS]))


def _number(text: str | None, default: float, low: float, high: float) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return default
    return min(high, max(low, value)) if math.isfinite(value) else default
