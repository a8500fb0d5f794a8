"""What travels between the page and the program over /live: typed messages, plain data, versioned.

    encode([Marked(end_s=3.0, text="A red car moves left.")])     # text of one WebSocket message: a JSON array
    parse_command('{"k": "seek", "v": 1.5}')                      # Command("seek", 1.5); None for nonsense

Messages are dataclasses without behaviour; their wire form is a dict with "k" naming the type. Times on the
wire are seconds since the start of the recording (`*_s` of a view) or since the question (`*_s` of a word).
Pictures travel as binary messages, see `picture_message`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, TypeAlias

from ui.answer_messages import AnswerMessage, Word, Work

VERSION = 2
"""Raised when a message changes its meaning; the page reloads itself on a mismatch."""

EVENT_PICTURE, RGB_PICTURE = 1, 2
"""Kinds of binary messages; a page acknowledges each one and never has more than a few on the way."""


@dataclass(frozen=True)
class Hello:
    """First message of a connection: protocol version and what stays the same during the visit."""

    k: ClassVar[str] = "hello"
    version: int
    models: str
    note: str
    cos_adapter: str
    captions: bool
    accumulation_ms: int
    palette: str


@dataclass(frozen=True)
class SourceLoading:
    """A source is being opened."""

    k: ClassVar[str] = "loading"
    name: str


@dataclass(frozen=True)
class SourceOpened:
    """A source is open. *_origin: in words for people, None = it has no such stream."""

    k: ClassVar[str] = "source"
    name: str
    sensor: str
    live: bool
    duration_s: float | None
    events_origin: str | None
    frames_origin: str | None
    event_size: str | None
    frame_size: str | None


@dataclass(frozen=True)
class SourceFailed:
    """A source could not be opened; kept: name of the one that stays open, None when there is none."""

    k: ClassVar[str] = "failed"
    name: str
    reason: str
    kept: str | None


@dataclass(frozen=True)
class Histogram:
    """Event rate over the whole recording in equal parts, as shares of the highest."""

    k: ClassVar[str] = "histogram"
    shares: list[float]


@dataclass(frozen=True)
class Playing:
    """Where the player is and what was lost on the way."""

    k: ClassVar[str] = "play"
    at_s: float
    duration_s: float | None
    playing: bool
    speed: float
    live: bool
    ended: bool
    loading: bool
    error: str | None
    damage: str | None
    rate_hz: float
    dropped: int
    rejected: int
    unread: int
    captions: bool


Message: TypeAlias = Hello | SourceLoading | SourceOpened | SourceFailed | Histogram | Playing | AnswerMessage


@cache
def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _plain(value: Any) -> Any:
    """Wire form of a value: dataclasses become dicts, floats are rounded and never NaN."""
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (Word, Work)):
        return {name: _plain(getattr(value, name)) for name in _names(type(value))}
    return value


def to_wire(message: Message) -> dict[str, Any]:
    """One message as a dict: "k" names its type."""
    return {"k": message.k} | {name: _plain(getattr(message, name)) for name in _names(type(message))}


def encode(messages: Iterable[Message]) -> str:
    """Several messages as the text of one WebSocket message."""
    return json.dumps([to_wire(message) for message in messages], ensure_ascii=False, allow_nan=False)


def picture_message(kind: int, at_us: int, image: bytes) -> bytes:
    """One picture as a binary message: kind u8, time u32 in ms since the start of the recording, image file."""
    return struct.pack("<BI", kind, max(0, at_us // 1000) & 0xFFFFFFFF) + image


PALETTES = ("dark", "light", "orange-blue", "grey")
_LIMITS: dict[str, tuple[float, float]] = {
    "ack": (EVENT_PICTURE, RGB_PICTURE), "seek": (0.0, 1e9), "skip": (-3600.0, 3600.0), "step": (-1, 1),
    "speed": (0.1, 4.0), "accumulation": (5, 200)}
_SWITCHES = {"play", "pause", "toggle", "compare", "stop"}
_BOOLEANS = {"captions", "hidden"}


@dataclass(frozen=True)
class Command:
    """What the page wants: play, pause, toggle, compare, stop, seek, skip, step, speed, accumulation, palette,
    captions, hidden, ack."""

    kind: str
    value: Any = None


def parse_command(text: str) -> Command | None:
    """A checked command from the page; None for anything else, which the caller ignores."""
    try:
        data = json.loads(text)
        kind, value = data["k"], data.get("v")
        if kind in _SWITCHES:
            return Command(kind)
        if kind in _BOOLEANS and isinstance(value, bool):
            return Command(kind, value)
        if kind == "palette" and value in PALETTES:
            return Command(kind, value)
        low, high = _LIMITS[kind]
        number = float(value)
        return Command(kind, min(high, max(low, number))) if math.isfinite(number) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
