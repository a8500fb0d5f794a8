"""The filters that a visitor looks through: what a page may name, what of that fits the source that is open.

    sifted(["noise:5", "hot:/etc/passwd"])      # (["noise:5"], {"hot": "hot takes seconds here; ..."})

Files of the program's machine are none of a page's business: those filters are for --filter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from streams.filters import create
from streams.types import InputError

ORDER = ("hot", "noise", "refractory", "polarity", "roi", "flip", "rotate")
"""What a page may name, in the order in which it acts: pixels are those of the sensor until the picture is turned."""
LONGEST_SPEC, MOST_SPECS = 60, 20
"""Characters of a filter, and filters at once."""


def sifted(specs: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Those of some filters, NAME[:VALUE] each, that a page may choose, one of each name, in the order in which they
    act; and by NAME why the others are not."""
    good, reasons = dict[str, str](), dict[str, str]()
    for spec in specs:
        name, _, value = spec.partition(":")
        try:
            if name not in ORDER:
                raise InputError(f"there is no filter {name!r} on the page; use {', '.join(ORDER)}")
            if name == "hot" and not re.fullmatch(r"[\d.]*", value):
                raise InputError(f"hot takes seconds here, got {value!r}; pixels and files are for --filter")
            create(spec)
            good[name] = spec
        except InputError as error:
            reasons[name] = str(error)
    return sorted(good.values(), key=lambda spec: ORDER.index(spec.partition(":")[0])), reasons
