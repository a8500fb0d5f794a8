"""What travels between the page and the program over /live: typed messages, plain data, versioned.

    encode([Marked(end_s=3.0, text="A red car moves left.")])     # text of one WebSocket message: a JSON array
    parse_command('{"k": "seek", "v": 1.5}')                      # Command("seek", 1.5); None for nonsense

Messages are dataclasses without behaviour; their wire form is an object with "k" naming the type. Times on the
wire are seconds since the start of the recording (`*_s` of a view) or since the question (`*_s` of a word).
Pictures travel as binary messages, see `picture_message`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeAlias

import orjson

from ui.answer_messages import AnswerMessage
from ui.looking_through import LONGEST_SPEC, MOST_SPECS
from ui.services import Curve

VERSION = 4
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
    palette: str
    style: str
    accumulation_ms: int
    layout: str
    curves: dict[str, Curve]
    program: str = ""


@dataclass(frozen=True)
class Offers:
    """What may be chosen as a source. network, webcam: whether there is such a thing; upload_bytes: largest file."""

    k: ClassVar[str] = "offers"
    recordings: list[str]
    network: bool
    webcam: bool
    upload_bytes: int


@dataclass(frozen=True)
class Cameras:
    """Event cameras that are plugged in, by name; reason: why none could be looked for."""

    k: ClassVar[str] = "cameras"
    names: list[str]
    reason: str


@dataclass(frozen=True)
class Filtering:
    """The filters that the visitor wants to look through, NAME[:VALUE] each, and by NAME why some are not on."""

    k: ClassVar[str] = "filtering"
    wanted: list[str]
    reasons: dict[str, str]


@dataclass(frozen=True)
class SourceLoading:
    """A source is being opened; share: how much of the file was read for that, None = nobody knows."""

    k: ClassVar[str] = "loading"
    name: str
    share: float | None = None


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
    """Where the player is and what was lost on the way.

    from_s, until_s: what can be shown; until_s of a live source is its newest data, following: it shows that.
    range_s: the part that is selected, [start, end]; loop: it plays again and again. delay_ms: from the moment that
    is shown to the page's word that it shows it, the way back included; None before the first. lag_ms: of a live source
    that is followed, the same from the moment at which the newest data shown had arrived on the program's machine.
    gaps: times that it was away; outage: one sentence while it is away or silent. skew: how the clocks of two
    devices were joined. filters: [NAME[:VALUE], events that came to it, events that it let through] in order, of which
    the last own_filters are this visitor's. others_dropped: frames and samples that a live source dropped;
    late: its packets and frames that came out of order.
    """

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
    from_s: float
    until_s: float
    following: bool
    range_s: list[float] | None
    loop: bool
    delay_ms: int | None
    lag_ms: int | None
    gaps: int
    outage: str | None
    skew: str | None
    filters: list[list[Any]]
    own_filters: int
    others_dropped: int
    late: int


Message: TypeAlias = (Hello | Offers | Cameras | Filtering | SourceLoading | SourceOpened | SourceFailed | Histogram
                      | Playing | AnswerMessage)


def encode(messages: Iterable[Message]) -> str:
    """Several messages as the text of one WebSocket message; numbers that are none become null, characters that are
    none question marks."""
    messages = list(messages)
    try:
        return _json([{"k": message.k, **vars(message)} for message in messages])
    except TypeError:  # the name of a file or a text of a page may hold halves of characters
        return _json(_readable([{"k": message.k, **asdict(message)} for message in messages]))


def _json(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_readable(key): _readable(each) for key, each in value.items()}
    return [_readable(each) for each in value] if isinstance(value, (list, tuple)) else value


def picture_message(kind: int, at_us: int, image: bytes) -> bytes:
    """One picture as a binary message: kind u8, time u32 in ms since the start of the recording, image file."""
    return struct.pack("<BI", kind, max(0, at_us // 1000) & 0xFFFFFFFF) + image


STYLES = ("events", "histogram", "decay", "surface", "points")
"""How events can be drawn; see ui.render.event_image."""

_CHOICES = {"palette": ("dark", "light", "orange-blue", "grey"), "style": STYLES,
            "layout": ("beside", "over")}
_LIMITS: dict[str, tuple[float, float]] = {
    "ack": (EVENT_PICTURE, RGB_PICTURE), "seek": (0.0, 1e9), "skip": (-3600.0, 3600.0), "step": (-1, 1),
    "speed": (0.01, 8.0), "accumulation": (1, 200)}
_SWITCHES = {"play", "pause", "toggle", "follow", "compare", "stop", "cameras"}
_BOOLEANS = {"captions", "hidden", "loop"}


@dataclass(frozen=True)
class View:
    """How one visitor wants to see events: colours, style (see ui.render), how much time one picture covers, and
    whether the views lie beside or over each other."""

    palette: str = "dark"
    style: str = "events"
    accumulation_ms: int = 33
    layout: str = "beside"


@dataclass(frozen=True)
class Choice:
    """A source that the visitor wants: kind "recording" | "camera" | "network", by the name it was offered under."""

    kind: str
    name: str


@dataclass(frozen=True)
class Command:
    """What the page wants: play, pause, toggle, follow, compare, stop, seek, skip, step, speed, range, loop, palette,
    style, layout, accumulation, filters, captions, hidden, open, cameras, ack."""

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
        if kind in _CHOICES:
            return Command(kind, value) if value in _CHOICES[kind] else None
        if kind == "open":
            return Command(kind, _choice(value))
        if kind == "filters":
            return Command(kind, _filters(value))
        if kind == "range":
            return Command(kind, None if value is None else _span(value))
        low, high = _LIMITS[kind]
        number = float(value)
        return Command(kind, min(high, max(low, number))) if math.isfinite(number) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _choice(value: Any) -> Choice:
    if value["kind"] not in ("recording", "camera", "network") or not isinstance(value["name"], str):
        raise ValueError(f"{value} is no source")
    return Choice(value["kind"], value["name"][:200])


def _filters(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_SPECS or not all(isinstance(spec, str) for spec in value):
        raise ValueError(f"{value} are no filters")
    return tuple(spec[:LONGEST_SPEC] for spec in value)


def _span(value: Any) -> tuple[float, float]:
    """Start and end in seconds of a part of the recording; ValueError when it is none."""
    start, end = (float(edge) for edge in value)
    if not 0 <= start < end < math.inf:
        raise ValueError(f"[{start}, {end}] is no part of a recording")
    return start, end
