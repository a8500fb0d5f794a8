"""Events of one device with the frames of another: how their clocks are joined, and what is said about it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from reading import split
from toy_sources import FeedSource, events_at, frame_at, toy_info

from app.cli import main
from streams.live_pair import WAITING, LivePair
from streams.pairing import AGREES, Changes, Estimate, Rates, estimate, sentence
from streams.recorder import Recorder
from streams.simulation import EventSimulator
from streams.sources import open_source
from streams.sources.pair import pair_uri
from streams.timeline import begins_us
from streams.types import Frame, InputError, Packet, Resolution

SENSOR = Resolution(64, 48)
BEGIN_US = 50_000_000
LATE_S = 0.4
"""So much later than the events the video begins."""


def picture(t_s: float) -> np.ndarray:
    """Grey stripes that move unevenly: brightness changes at some times more than at others."""
    place = 9 * np.sin(5 * t_s) + 5 * np.sin(11.3 * t_s) + 60 * max(0.0, t_s - 1.1) ** 2
    x = np.arange(SENSOR.width)
    row = 120 + 90 * np.sin((x + place) / 4)
    return np.repeat(row[None, :, None].astype(np.uint8), SENSOR.height, 0).repeat(3, 2)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two seconds of events, and a video of the same whose clock begins at 0 and LATE_S after them."""
    folder = tmp_path_factory.mktemp("pair")
    simulator = EventSimulator(SENSOR, seed=1)
    with Recorder(folder / "events.aedat4", SENSOR, None, "simulated", None, compression="lz4") as recorder:
        for t_s in np.arange(0, 2.0, 0.004):
            recorder.write(simulator.step(picture(t_s), BEGIN_US + round(t_s * 1e6)))
    writer = cv2.VideoWriter(str(folder / "frames.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for t_s in np.arange(LATE_S, 2.0, 0.04):
        writer.write(picture(t_s))
    writer.release()
    return str(folder / "events.aedat4"), str(folder / "frames.avi")


def test_the_offset_of_two_clocks_is_estimated_from_what_they_saw(recorded: tuple[str, str]) -> None:
    with open_source(pair_uri(*recorded)) as source:
        info = source.info
        assert (info.event_resolution, info.frame_resolution) == (SENSOR, SENSOR)
        assert (info.events_origin, info.frames_origin, info.live) == ("simulated", "video", False)
        events, frames = split(source)
        assert abs(frames[0].t_us - (int(events["t"][0]) + LATE_S * 1e6)) < 15_000
        assert "clocks joined at their starts" in str(source.losses.skew)
        assert "an estimate" in str(source.losses.skew)


def test_an_offset_that_is_given_is_used_and_the_skew_is_said(recorded: tuple[str, str]) -> None:
    with open_source(pair_uri(*recorded, offset_ms=300)) as source:
        first = next(item for item in source if isinstance(item, Frame))
        assert first.t_us == (source.info.start_us or 0) + 300_000
        assert "frames +300 ms as given; skew +" in str(source.losses.skew)


def test_a_pair_is_sought_in_the_time_of_the_events(recorded: tuple[str, str]) -> None:
    with open_source(pair_uri(*recorded, offset_ms=400)) as source:
        source.seek(BEGIN_US + 1_000_000)
        items = list(itertools.islice(source, 12))
        events, frames = split(items)
        assert events["t"][0] >= BEGIN_US + 1_000_000
        assert BEGIN_US + 1_000_000 <= frames[0].t_us < BEGIN_US + 1_045_000


def test_frames_beyond_the_events_are_left_out(recorded: tuple[str, str]) -> None:
    with open_source(pair_uri(*recorded, offset_ms=-200)) as source:
        info = source.info
        _, frames = split(source)
        assert frames[0].t_us >= (info.start_us or 0)
        assert frames[-1].t_us <= (info.start_us or 0) + (info.duration_us or 0)


def test_what_moves_evenly_or_hardly_tells_no_offset() -> None:
    rng, changes, rates = np.random.default_rng(0), Changes(), Rates()
    for index in range(40):
        changes.add(Frame(index * 40_000, 0, rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)))
        rates.add(events_at(list(range(index * 40_000, (index + 1) * 40_000, 100))))
    found = estimate(*rates.cumulative(), changes, 200_000)
    assert found is None or not found.believed
    assert estimate(*rates.cumulative(), Changes(), 200_000) is None
    assert "could not be estimated" in sentence(None, Estimate(70, 0.2, False), "one clock")


@pytest.mark.parametrize(("uri", "said"), [
    ("pair://?events=a.aedat4", "is no pair; write pair://?events=URI&frames=URI"),
    ("pair://?events=a&frames=b&colour=1", "is no pair"),
    ("pair://?events=a&frames=b&offset_ms=soon", "is no pair"),
    ("pair://?events=pair://x&frames=b", "pairs a pair"),
    ("pair://?events=no-such.aedat4&frames=b", "no-such.aedat4 does not exist"),
])
def test_wrong_pairs_are_one_sentence(uri: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(uri)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sources_that_cannot_be_paired_are_refused(recorded: tuple[str, str], tmp_path: Path) -> None:
    events, video = recorded
    with pytest.raises(InputError, match="has no frames; give a camera, a video"):
        open_source(pair_uri(events, events))
    with Recorder(tmp_path / "frames.aedat4", None, SENSOR, None, "camera") as recorder:
        recorder.write(Frame(1000, 0, picture(0)))
    with pytest.raises(InputError, match="has no events; give the event camera"):
        open_source(pair_uri(str(tmp_path / "frames.aedat4"), video))


def test_commands_take_frames_from_a_second_source(recorded: tuple[str, str], tmp_path: Path) -> None:
    events, video = recorded
    said = CliRunner().invoke(main, ["info", events, "--frames", video, "--frames-offset-ms", "400"])
    assert said.exit_code == 0, said.output
    assert "frames: 40 at 64x48" in said.output
    assert "as given; skew" in said.output
    out = tmp_path / "both.aedat4"
    assert CliRunner().invoke(main, ["record", events, str(out), "--frames", video]).exit_code == 0
    with open_source(str(out)) as source:
        assert (source.info.events_origin, source.info.frames_origin) == ("simulated", "video")
        assert len(split(source)[1]) == 40
    by_word = CliRunner().invoke(main, ["info", events, "--frames", video, "--frames-offset-ms", "auto"])
    assert "ms: an estimate from events and changes" in " ".join(by_word.output.split())
    wrong = CliRunner().invoke(main, ["info", events, "--frames", video, "--frames-offset-ms", "soon"])
    assert (wrong.exit_code, "give milliseconds" in wrong.output) == (2, True)
    alone = CliRunner().invoke(main, ["info", events, "--frames-offset-ms", "4"])
    assert (alone.exit_code, "name them too" in alone.output) == (2, True)


# Live


class Feeds:
    """A live pair of toys; tell(source, arrived_s, item) lets an item arrive and wait for who reads."""

    def __init__(self, offset_us: int | Literal["auto"] | None = None) -> None:
        self.events = FeedSource(toy_info(live=True, start_us=None))
        self.frames = FeedSource(toy_info(frames=True, live=True, start_us=None))
        self.pair = LivePair(self.events, self.frames, offset_us, clock=lambda: 0.0)
        self.items = iter(self.pair)

    def tell(self, source: FeedSource, arrived_s: float, item: Packet) -> None:
        source.losses.arrived_s, n_waiting = arrived_s, len(self.pair._queue)
        source.feed(item)
        with self.pair._changed:
            assert self.pair._changed.wait_for(lambda: len(self.pair._queue) > n_waiting, 10)


@pytest.mark.parametrize(("offset_us", "expected_us"), [(None, 1_250_000), (20_000, 1_270_000)])
def test_live_frames_are_put_where_they_arrived_among_the_events(offset_us: int | None, expected_us: int) -> None:
    feeds = Feeds(offset_us)
    # The event camera's clock says 1 s when ours says 100 s, the webcam's 7 s when ours says 100.25 s.
    feeds.tell(feeds.events, 100.0, events_at([1_000_000]))
    feeds.tell(feeds.frames, 100.25, frame_at(7_000_000))
    assert len(next(feeds.items)) == 1  # type: ignore[arg-type]
    assert feeds.pair.losses.arrived_s == 100.0
    feeds.events.end()  # until then the frame waits for an event of its time
    moved = next(item for item in feeds.items if isinstance(item, Frame))
    assert moved.t_us == expected_us
    assert feeds.pair.losses.arrived_s == 100.25
    assert feeds.pair.info.frame_resolution == SENSOR or feeds.pair.info.live
    feeds.pair.close()


def test_a_live_pair_comes_in_order_however_it_arrives() -> None:
    feeds = Feeds()
    for begin_us in range(0, 60_000, 10_000):
        feeds.tell(feeds.events, (begin_us + 9_000) / 1e6, events_at([begin_us, begin_us + 9_000]))
    for t_us in (15_000, 35_000):  # the second frame tells that the first one's way was long
        feeds.tell(feeds.frames, (t_us + 40_000 - t_us // 2) / 1e6, frame_at(t_us))
    feeds.events.end()
    found = [begins_us(item) for item in feeds.items if isinstance(item, Frame) or len(item)]
    assert found == sorted([*range(0, 60_000, 10_000), 15_000 + 32_500, 35_000 + 22_500])
    assert (feeds.pair.losses.n_late, feeds.pair.losses.n_others_dropped) == (0, 0)


def test_a_slow_consumer_of_a_live_pair_loses_the_oldest_and_it_is_counted() -> None:
    feeds = Feeds()
    feeds.events.losses.arrived_s = 0.0
    total = WAITING + 40
    for index in range(total):
        feeds.events.feed(events_at([index * 10, index * 10 + 1]))
    feeds.events.end()
    feeds.pair._threads[0].join(10)
    delivered = np.concatenate([item for item in feeds.items if len(item)])  # type: ignore[arg-type]
    assert len(delivered) + feeds.pair.losses.n_dropped == 2 * total
    assert feeds.pair.losses.n_dropped == 80
    assert delivered["t"][-1] == (total - 1) * 10 + 1
    feeds.pair.close()


def test_a_live_pair_cannot_be_sought_and_needs_two_live_sources(recorded: tuple[str, str]) -> None:
    feeds = Feeds()
    with pytest.raises(InputError, match="is live"):
        feeds.pair.seek(0)
    with pytest.raises(InputError, match="is live"):
        feeds.pair.rate_histogram(3)
    feeds.pair.close()
    assert list(feeds.items) == []
    assert (feeds.events.n_closed, feeds.frames.n_closed) == (1, 1)


class Scene:
    """Stripes seen live for as long as run() says: events every 5 ms and a picture every 25 ms, each here at once, but
    the picture's clock is `off_us` behind. Read in step, by a clock of its own."""

    def __init__(self, offset_us: int | Literal["auto"] | None, off_us: int) -> None:
        self.now_s, self.off_us, self.n_frames = 0.0, off_us, 0
        sources = FeedSource(toy_info(live=True, start_us=None)), FeedSource(toy_info(True, live=True, start_us=None))
        self.pair = LivePair(*sources, offset_us, clock=lambda: self.now_s)
        self.found: list[Packet] = []

    def run(self, to_s: float) -> int:
        """Go on until then; how much later than its own clock says the newest frame was put, µs."""
        while self.now_s < to_s:
            t_us = round(self.now_s * 1e6)
            if t_us % 25_000 == 0:
                self.n_frames += 1
                self._arrive(Frame(t_us, 0, stripes((t_us + self.off_us) / 1e6)))
            n_events = 2 + round(3 * abs(speed(self.now_s)))
            self.now_s = (t_us + 5_000) / 1e6
            self._arrive(events_at(np.linspace(t_us, t_us + 5_000, n_events).astype(int).tolist()))
            self.found += self.pair._order.ready()
        return round(self.pair._last_frame_us or 0) - (round(to_s * 1e6) - 25_000)

    def _arrive(self, item: Packet) -> None:
        """As by the pair's threads, and at once to who reads."""
        self.pair._take(self.pair._placed(item, int(isinstance(item, Frame)), self.now_s), self.now_s)

    def end(self) -> list[Frame]:
        """The frames that came through; everything is in order or counted."""
        self.found += self.pair._order.rest()
        self.pair._count()
        self.pair.close()
        late = [b for a, b in itertools.pairwise(filter(None, map(begins_us, self.found))) if b < a]
        assert len(late) <= self.pair.losses.n_late
        return [item for item in self.found if isinstance(item, Frame)]


def speed(t_s: float) -> float:
    """Of the stripes, px/s."""
    return float(45 * np.cos(5 * t_s) + 56 * np.cos(11.3 * t_s) + 30 * np.cos(2.7 * t_s))


def stripes(t_s: float) -> np.ndarray:
    """The stripes at this time."""
    place = 9 * np.sin(5 * t_s) + 5 * np.sin(11.3 * t_s) + 11 * np.sin(2.7 * t_s)
    row = 120 + 90 * np.sin((np.arange(SENSOR.width) + place) / 4)
    return np.repeat(row[None, :, None].astype(np.uint8), SENSOR.height, 0).repeat(3, 2)


@pytest.mark.parametrize("off_us", [120_000, -120_000])
def test_live_frames_are_moved_once_when_the_estimate_is_sure(off_us: int) -> None:
    scene = Scene("auto", off_us)
    assert scene.run(8.0) == 0
    assert "frames +0 ms until an estimate is sure; skew" in str(scene.pair._skew)
    moved_us = scene.run(13.0)
    assert abs(moved_us - off_us) < 15_000
    assert "by an estimate that was taken once; skew" in str(scene.pair._skew)
    scene.off_us //= 2  # whatever happens to the clocks then
    assert scene.run(26.0) == moved_us
    assert f"skew {-off_us / 2e3:+.0f}"[:6] in str(scene.pair._skew)
    frames = scene.end()
    assert len(frames) + scene.pair.losses.n_others_dropped == scene.n_frames
    assert all(before.t_us < after.t_us for before, after in itertools.pairwise(frames))
    assert (scene.pair.losses.n_others_dropped > 0) == (off_us < 0)


def test_an_offset_at_the_end_of_what_is_tried_is_not_believed() -> None:
    scene = Scene(None, 120_000)
    scene.run(9.0)
    seen = *scene.pair._rates.cumulative(), scene.pair._changes
    whole, cut = estimate(*seen, 500_000), estimate(*seen, 110_000)
    assert whole is not None
    assert whole.believed
    assert cut is not None
    assert (cut.offset_us, cut.agreement > AGREES, cut.believed) == (110_000, True, False)
    scene.end()


@pytest.mark.parametrize(("offset_us", "why"), [(None, "+0 ms as they came"), (30_000, "+30 ms as given")])
def test_live_frames_stay_where_they_are_unless_it_is_asked_for(offset_us: int | None, why: str) -> None:
    scene = Scene(offset_us, 120_000)
    assert scene.run(13.0) == (offset_us or 0)
    assert f"frames {why}; skew +" in str(scene.pair._skew)
    assert len(scene.end()) == scene.n_frames
    assert scene.pair.losses.n_late == 0
