"""The noise filter of a visitor: as in the whole stream, wherever one looks; and what filters held back is told."""

from __future__ import annotations

import numpy as np
import pytest
from toy_services import SENSOR, recording
from toy_sources import ListSource

from streams.filtering import filtered
from streams.filters import create
from streams.player import Player
from streams.types import Frame, Resolution, SourceInfo
from ui.asking import Asking
from ui.quieting import without_noise
from ui.services import AskSettings

INFO = SourceInfo("toy", SENSOR, SENSOR, start_us=0, duration_us=11_000_000, frames_origin="camera")
EVENTS = np.concatenate([item for item in recording()[:60] if not isinstance(item, Frame)])


def playing(specs: list[str] | None = None) -> Player:
    player = Player(filtered(ListSource(recording()[:60], INFO), specs or [])).start()
    assert player.wait_until(lambda state: state.read_us > 1_000_000)
    return player


@pytest.mark.parametrize("span_us", [(0, 33_000), (400_000, 433_000), (500_000, 500_001), (3_000, 900_000)])
def test_what_is_seen_is_what_the_filter_lets_through_of_the_whole_stream(span_us: tuple[int, int]) -> None:
    noise = create("noise")
    noise.prepare(SENSOR, "")
    whole = noise.events(EVENTS)
    player = playing()
    seen, n_hidden = without_noise(player, *span_us)
    expected = whole[(whole["t"] >= span_us[0]) & (whole["t"] < span_us[1])]
    np.testing.assert_array_equal(seen, expected)
    assert n_hidden == len(player.events(*span_us)) - len(seen)
    player.close()


def test_a_question_is_about_what_is_seen() -> None:
    player = playing()
    loud, quiet = (Asking("question", "?", player, 1_000_000, 1_000_000, AskSettings(), quiet=quiet).window()
                   for quiet in (False, True))
    assert 0 < len(quiet.events) < len(loud.events)
    assert (quiet.start_us, quiet.end_us, len(quiet.frames)) == (loud.start_us, loud.end_us, len(loud.frames))
    np.testing.assert_array_equal(quiet.events, without_noise(player, quiet.start_us, quiet.end_us)[0])
    player.close()


def test_a_player_of_a_filtered_source_tells_its_size_and_what_was_held_back() -> None:
    player = playing(["rotate:90", "polarity:on"])
    state = player.state()
    assert player.info.event_resolution == player.info.frame_resolution == Resolution(SENSOR.height, SENSOR.width)
    assert state.n_filtered > 0
    assert state.n_dropped == 0
    assert player.events(0, 1_000_000)["p"].all()
    player.close()
