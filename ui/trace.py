"""The trace of an answer: JSON lines that the page writes, and plays back without a model.

    text = trace_lines(trace)                    # a header, then the lines that `parafovea ask --json` prints
    traces = read_traces(text, "walk.jsonl")     # of a downloaded trace, or of what `ask` and `replay` printed
    for record in paced(traces[0], cancel): ...  # Drafted, Cycle, Caption at the times that were measured

A file from somebody else is data: it is bounded, every value is checked, nothing in it is executed.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipeline.types import Box, Caption, Cycle, Drafted, Emitted, Node, Record, Records, Span
from streams.types import InputError

MAX_BYTES, MAX_LINES, MAX_NODES, MAX_TEXT = 20 << 20, 20_000, 1000, 10_000
VERDICTS, KINDS = ("accepted", "rejected", "unreached"), ("accepted", "recovered", "bonus", "plain")
LONGEST_PAUSE_S = 10.0
STRANGE = "it is not a trace; give a file that this page or `parafovea ask --json` wrote"


@dataclass
class Trace:
    """One answer as it was made. header: question, source, times in the recording, settings (see trace_lines)."""

    header: dict[str, Any]
    records: list[Record] = field(default_factory=list)


def trace_lines(trace: Trace) -> str:
    """The trace as JSON lines: {"type": "trace", ...header}, then "cycle" and "caption" lines (design.md §8)."""
    rows = [{"type": "trace", "version": 1, **trace.header}]
    rows += [record.to_json() for record in trace.records if not isinstance(record, Drafted)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_traces(text: str, name: str) -> list[Trace]:
    """The answers in a file, in its order. Raises InputError for anything that is not a trace."""
    if len(text) > MAX_BYTES:
        raise InputError(f"{name} is larger than {MAX_BYTES >> 20} MB, traces are not")
    found: list[Trace] = []
    open_header: dict[str, Any] = {}
    records: list[Record] = []
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > MAX_LINES:
        raise InputError(f"{name} has more than {MAX_LINES} lines; give one answer, or fewer")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            kind = row.get("type")
            if kind == "trace":
                open_header = _header(row)
            elif kind == "cycle":
                records += _round(row)
            elif kind == "caption":
                caption = _caption(row)
                found.append(Trace(_known(open_header, caption), [*records, caption]))
                open_header, records = {}, []
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"line {number} of {name} cannot be read: {STRANGE}") from error
    if records:  # broken off
        found.append(Trace({"question": "?", "start_s": 0.0, "end_s": 0.0} | open_header, records))
    if not found:
        raise InputError(f"there is no answer in {name}: {STRANGE}")
    return found


def paced(trace: Trace, cancel: threading.Event) -> Records:
    """The records at the times they came, as if a model made them now."""
    began = time.monotonic()
    for record in trace.records:
        wait_s = at_s(record) - (time.monotonic() - began)
        if cancel.wait(min(LONGEST_PAUSE_S, max(0.0, wait_s))):
            return
        yield record


def at_s(record: Record) -> float:
    """When a record came, seconds since the question."""
    if isinstance(record, Drafted):
        return record.at_s
    return max((span.end_s for span in record.spans), default=0.0) if isinstance(record, Cycle) else record.total_s


def _known(header: dict[str, Any], caption: Caption) -> dict[str, Any]:
    start_s, end_s = caption.start_us / 1e6, caption.end_us / 1e6
    return {"question": caption.question, "start_s": start_s, "end_s": end_s, "drafter": caption.drafter} | header


def _header(row: dict[str, Any]) -> dict[str, Any]:
    texts = {key: _text(row[key]) for key in ("question", "source", "models", "drafter", "how") if key in row}
    times = {key: _number(row[key]) for key in ("start_s", "end_s") if key in row}
    rates = [_number(rate) for rate in row.get("rates_hz", [])[:MAX_NODES]]
    return texts | times | {"rates_hz": rates}


def _round(row: dict[str, Any]) -> Iterator[Record]:
    """A "cycle" line as the guesses before their check and the round after it."""
    nodes = [_node(item, i) for i, item in enumerate(row["drafted"][:MAX_NODES])]
    spans = [Span(_text(item["lane"]), _number(item["start_s"]), _number(item["end_s"])) for item in row["spans"]]
    if nodes:
        guessed_s = max((span.end_s for span in spans if span.lane == "draft"), default=0.0)
        pending = [replace(node, verdict="pending", cos_sim=None, p_verify=None, box=None) for node in nodes]
        yield Drafted(int(row["round"]), pending, guessed_s)
    yield Cycle(int(row["round"]), nodes, [_emitted(item) for item in row["emitted"][:MAX_NODES]], spans)


def _node(item: dict[str, Any], index: int) -> Node:
    parent, depth = int(item["parent"]), int(item["depth"]) + 1
    if not -1 <= parent < index or depth < 1 or item["verdict"] not in VERDICTS:
        raise ValueError("a node before its parent, or without a verdict")
    return Node(_text(item["text"]), int(item["token"]), parent, depth, _text(item["origin"]), item["verdict"],
                _maybe(item["cos_sim"]), _maybe(item["p_draft"]), _maybe(item["p_verify"]), _box(item["box"]))


def _emitted(item: dict[str, Any]) -> Emitted:
    if item["kind"] not in KINDS:
        raise ValueError("an unknown kind of word")
    replaces = item.get("replaces")
    return Emitted(_text(item["text"]), int(item["token"]), item["kind"],
                   None if replaces is None else _text(replaces), _box(item.get("box")))


def _caption(row: dict[str, Any]) -> Caption:
    """A "caption" line, every field checked by the kind it has."""
    checked: dict[str, Any] = {}
    for of in fields(Caption):
        kind, value = str(of.type), row.get(of.name)
        if of.name == "extra" or (of.name not in row and of.name in ("n_dropped", "damaged", "stopped")):
            continue
        if value is None and "None" in kind:
            checked[of.name] = None
        elif kind.startswith("str"):
            checked[of.name] = _text(value)
        else:
            number = _number(value)
            checked[of.name] = bool(number) if kind == "bool" else int(number) if kind == "int" else number
    return Caption(**checked)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError("a text was expected")
    return value


def _number(value: object) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("a number was expected")
    return float(value)


def _maybe(value: object) -> float | None:
    return None if value is None else _number(value)


def _box(value: Any) -> Box | None:
    if value is None:
        return None
    x0, y0, x1, y1 = (_number(side) for side in value)
    return x0, y0, x1, y1
