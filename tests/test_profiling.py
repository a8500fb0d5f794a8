"""Where the time goes: parts add up, the bound is arithmetic on what was measured, operators are those of a pass."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from toy_models import random_decoder, toy_models, toy_window

from app import profiling as command
from app.cli import main
from pipeline import clips, decoding, native
from pipeline.decoder import KVCache
from pipeline.decoding import Limits
from pipeline.profiling import Bound, measure_bound, pass_operators, pass_seconds
from pipeline.timing import verify_pass


def test_the_bound_is_memory_for_few_rows_and_arithmetic_for_many() -> None:
    bound = Bound(weight_bytes=40, macs_per_row=10, bytes_per_s=20, macs_per_s=10)
    assert [bound.seconds(rows) for rows in (1, 2, 3, 8)] == [2, 2, 3, 8]


def test_a_bound_counts_every_matrix_that_a_row_passes() -> None:
    decoder = random_decoder(0)
    bound = measure_bound(decoder)
    layer = 32 * 64 + 32 * 32 + 2 * 32 * 64 + 64 * 32  # qkv (two of four heads shared), out, gate and up, down
    assert bound.macs_per_row == 2 * layer + 32 * decoder.config.vocab_size
    assert bound.weight_bytes == 4 * bound.macs_per_row
    assert bound.bytes_per_s > 0 < bound.macs_per_s


def test_passes_are_timed_and_taken_apart() -> None:
    decoder = random_decoder(0)
    assert all(seconds > 0 for seconds in pass_seconds(decoder, (1, 4)).values())
    found = pass_operators(decoder, rows=4, most=200)
    assert sum(one.share for one in found) == pytest.approx(1)
    assert [one.share for one in found] == sorted((one.share for one in found), reverse=True)
    calls = {one.name: one.calls for one in found}
    # four matrices a layer and the head
    assert calls["aten::linear"] == 4 * 2 + 1


def test_the_command_says_where_the_time_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decoding, "Limits", partial(Limits, 12))
    monkeypatch.setattr(command, "load", lambda options: toy_models())
    monkeypatch.setattr(clips, "clips", lambda count: [toy_window(1_000_000 * clip) for clip in range(count)])
    result = CliRunner().invoke(main, ["bench", "--profile", "--clips", "2", "--budget", "4", "--json", "--out",
                                       str(tmp_path)])
    assert result.exit_code == 0, result.output
    line = json.loads(result.stdout.splitlines()[-1])
    assert (line["type"], list(line["answers"])) == ("profile", ["none", "vlm"])
    for answer in line["answers"].values():
        total, parts = answer["total_s"], {name: answer[name] for name in answer if name != "total_s"}
        assert sum(parts.values()) == pytest.approx(total, rel=1e-3)
        assert all(-1e-5 <= seconds < total for seconds in parts.values())
    assert line["answers"]["vlm"]["draft_s"] > line["answers"]["none"]["draft_s"]
    assert [one["rows"] for one in line["passes"]] == [1, 2, 4, 8, 16]
    assert json.loads((tmp_path / "profile.json").read_text()) == line
    text = (tmp_path / "profile.md").read_text()
    for fact in ("parafovea bench --profile --clips 2", line["commit"], torch.__version__, "measured", "bound"):
        assert fact in text


def test_two_comparisons_at_once_are_refused() -> None:
    result = CliRunner().invoke(main, ["bench", "--peers", "--profile"])
    assert result.exit_code == 2
    assert "--peers and --profile are different comparisons" in result.stderr


def test_weights_that_are_read_in_16_bits_count_as_such() -> None:
    if not native.switch(True):
        pytest.skip("no C compiler")
    try:
        decoder = random_decoder(1, size=64, layers=2, vocabulary=96)
        for weight in decoder.parameters():
            weight.copy_(weight.half())
        bound = measure_bound(decoder)
        # a matrix as small as this head is not laid out
        assert bound.weight_bytes == 2 * bound.macs_per_row + 2 * 64 * 96
    finally:
        native.switch(False)


def test_timed_passes_read_ordinary_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, caches = random_decoder(0), list[KVCache]()
    new_cache = decoder.new_cache

    def spoilt(capacity: int) -> KVCache:
        caches.append(cache := new_cache(capacity))
        for store in (cache.keys, cache.values):
            store.fill_(float("nan"))
        return cache

    monkeypatch.setattr(decoder, "new_cache", spoilt)
    assert verify_pass(decoder, 4)().isfinite().all()
    assert len(caches) == 1
