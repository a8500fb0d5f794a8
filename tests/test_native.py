"""Compiled passes are torch's passes: the same states, taps, caches and cosines, for all shapes; and every row is the
same bit for bit alone and among others."""

import platform
import shutil
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from toy_models import toy_window

from app.compose import ModelOptions, load
from pipeline import native, packed
from pipeline.acceptance import Greedy
from pipeline.alignment import camera_shifts
from pipeline.clips import clips
from pipeline.decoder import FINAL, Decoder, DecoderConfig, KVCache
from pipeline.drafters import create
from pipeline.drafters.eagle import EagleHead
from pipeline.heads import HeadDrafter
from pipeline.inputs import SIDE, _fit, event_input
from pipeline.mini import locate, pointing_layer
from pipeline.packed import PackedLinear, in_eight_bits
from pipeline.trees import attention_mask
from pipeline.types import Draft, Prefix, Scores, Verdict
from streams.types import InputError, Resolution, Window, events_from_columns

CONFIG = DecoderConfig(vocab_size=61, hidden_size=64, intermediate_size=96, layers=3, heads=4, kv_heads=2, head_size=16)
TREE = [-1, 0, 0, 2, -1, 4]


class OneByOne(Greedy):
    """Has to be asked for every word."""

    only_likeliest = False


@pytest.fixture(autouse=True)
def compiled() -> Iterator[None]:
    if not native.switch(True):
        pytest.skip("no C compiler")
    yield
    native.switch(False)


@torch.inference_mode(False)
def decoder(config: DecoderConfig = CONFIG, halves: bool = True) -> Decoder:
    torch.manual_seed(1)
    made = Decoder(config).requires_grad_(False).eval()
    for weight in made.parameters():
        weight.data = weight.data.half().float() if halves else weight.data
    return made


@torch.inference_mode()
def both(made: Decoder, parents: list[int], prefix: int, skip: tuple[int, ...] = (),
         ) -> list[tuple[torch.Tensor, torch.Tensor | None, KVCache, list[torch.Tensor]]]:
    """Results of torch and of the compiled pass after the same prefix."""
    torch.manual_seed(2)
    size = made.config.hidden_size
    before, x = torch.randn(1, prefix, size), torch.randn(1, len(parents) + 1, size)
    mask = attention_mask(parents, prefix, 1)[None, None] if prefix else None
    found = []
    for on in (False, True):
        native.switch(on)
        cache = made.new_cache(prefix + len(parents) + 3)
        if prefix:
            made(before, torch.arange(prefix)[None], None, cache)
            cache.keep(range(prefix))
        cosines = list[torch.Tensor]()
        at = torch.arange(prefix, prefix + x.shape[1])[None]
        states, tapped = made(x, at, mask, cache, (1, FINAL), skip, cosines)
        assert (cache.compiled is not None) == on
        found.append((states, tapped, cache, cosines))
    native.switch(True)
    return found


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, kv_heads=4, head_size=32), replace(CONFIG, head_size=64),
                                    replace(CONFIG, hidden_size=80, intermediate_size=112)])
@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("parents", [[], [-1], TREE, list(range(-1, 29))])
@pytest.mark.parametrize(("prefix", "skip"), [(0, ()), (21, ()), (21, (1,))])
def test_a_compiled_pass_is_torchs(config: DecoderConfig, halves: bool, parents: list[int], prefix: int,
                                   skip: tuple[int, ...]) -> None:
    (states, tapped, cache, cosines), mine = both(decoder(config, halves), parents, prefix, skip)
    torch.testing.assert_close(mine[0], states, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(mine[1], tapped, atol=2e-5, rtol=1e-5)
    rows = prefix + len(parents) + 1
    written = [index for index in range(config.layers) if index not in skip]
    for ours, torchs in ((mine[2].keys, cache.keys), (mine[2].values, cache.values)):
        torch.testing.assert_close(ours[written, ..., :rows, :], torchs[written, ..., :rows, :], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(torch.stack(mine[3]), torch.stack(cosines), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_rows_of_a_tree_are_those_of_its_paths_bit_for_bit() -> None:
    made, prefix = decoder(), 19
    x = torch.randn(1, prefix + 1 + len(TREE), CONFIG.hidden_size)
    depths = [0, 1, 2, 2, 3, 1, 2]
    tree_cache = made.new_cache(64)
    made(x[:, :prefix], torch.arange(prefix)[None], None, tree_cache)
    tree_cache.keep(range(prefix))
    whole, _ = made(x[:, prefix:], prefix + torch.tensor(depths)[None], attention_mask(TREE, prefix, 1)[None, None],
                    tree_cache)
    assert made._native is not None
    for leaf in range(len(TREE)):
        path, node = list[int](), leaf
        while node >= 0:
            path, node = [node + 1, *path], TREE[node]
        cache = made.new_cache(64)
        for row in range(prefix):  # the prefix too: one by one
            made(x[:, row:row + 1], torch.tensor([[row]]), None, cache)
            cache.keep([0])
        for depth, row in enumerate([0, *path]):
            alone, _ = made(x[:, prefix + row:prefix + row + 1], torch.tensor([[prefix + depth]]), None, cache)
            cache.keep([0])
        assert torch.equal(alone[0, 0], whole[0, leaf + 1])


@torch.inference_mode()
@pytest.mark.parametrize("fed", [[7], [7, 2, 400]])
def test_words_written_in_one_call_are_those_of_one_pass_each(fed: list[int]) -> None:
    made, prefix = decoder(replace(CONFIG, vocab_size=2000)), 9
    x, caches = torch.randn(1, prefix, CONFIG.hidden_size), (made.new_cache(64), made.new_cache(64))
    for cache in caches:
        made(x, torch.arange(prefix)[None], None, cache)
        cache.keep(range(prefix))
    written = made.write_on(fed, caches[0], 8, end=-1)
    assert written is not None
    said, logits, states = written
    assert len(set(said)) > 2
    tokens = fed
    for number in range(8):
        at = torch.arange(len(tokens)) + caches[1].length
        mask = attention_mask([], caches[1].length, len(tokens))[None, None]
        state, _ = made(made.embed(torch.tensor(tokens))[None], at[None], mask, caches[1])
        caches[1].keep(range(len(tokens)))
        assert torch.equal(state[0, -1], states[number])
        assert torch.equal(made.head(state[0, -1:])[0], logits[number])
        tokens = [int(logits[number].argmax())]
        assert tokens[0] == said[number]
    rows = caches[1].length
    assert torch.equal(caches[0].keys[..., :rows, :], caches[1].keys[..., :rows, :])
    caches[0].rewind(prefix)
    shorter = made.write_on(fed, caches[0], 8, end=said[2])
    assert shorter is not None
    assert shorter[0] == said[:said.index(said[2]) + 1]
    with pytest.raises(ValueError, match="too long"):
        made.write_on(fed, caches[0], 60, end=-1)
    caches[0].compiled = None
    assert made.write_on(fed, caches[0], 2, end=-1) is None


def test_a_chain_written_in_one_call_is_the_same_draft() -> None:
    models, window, drafts = load(ModelOptions()), next(clips(1)), list[Draft]()
    for rule in (Greedy(), OneByOne()):
        drafter = create("vlm", models)
        drafter.start(window, "What is happening?", rule, lambda: pytest.fail("the verifier is not waited for"))
        for _ in range(2):
            drafts.append(drafter.propose(3))
    for one_call, one_by_one in zip(drafts[:2], drafts[2:], strict=True):
        assert one_call.tokens == one_by_one.tokens
        assert one_call.probs == one_by_one.probs
        assert one_call.hidden is not None
        assert one_by_one.hidden is not None
        assert torch.equal(one_call.hidden, one_by_one.hidden)


@torch.inference_mode()
@pytest.mark.parametrize("shape", ["dynamic", "chain"])
@pytest.mark.parametrize("budget", [1, 4, 9])
def test_a_tree_grown_in_one_call_is_the_same_draft(shape: str, budget: int) -> None:
    with torch.inference_mode(False):
        verifier = decoder(replace(CONFIG, vocab_size=2000, head_size=16, kv_heads=4, hidden_size=256))
        torch.manual_seed(7)
        head = EagleHead(verifier.config).requires_grad_(False).eval()
    hidden, prompt, drafts = torch.randn(12, 1, 256), [5, 6, 7], list[Draft]()
    seen = Prefix(prompt, 9, hidden[:11], [], lambda skip, choose: None)
    for rule in (Greedy(), OneByOne()):
        drafter = HeadDrafter("eagle", verifier, head, 1999, shape)
        drafter.start(toy_window(), "", rule, lambda: seen)
        drafts.append(drafter.propose(budget))
        assert drafter._cache.compiled is not None
        chosen = drafts[-1].tokens[0]
        scores = Scores(torch.randn(1 + len(drafts[-1]), 2000), torch.ones(1 + len(drafts[-1]), 1, 256))
        drafter.observe(drafts[-1], scores, Verdict([0], chosen, "plain"))
        drafts.append(drafter.propose(budget))
    for one_call, step_by_step in zip(drafts[:2], drafts[2:], strict=True):
        assert len(one_call) == budget
        assert one_call.tokens == step_by_step.tokens
        assert one_call.parents == step_by_step.parents
        assert one_call.probs == pytest.approx(step_by_step.probs, rel=1e-4)
        assert one_call.hidden is not None
        torch.testing.assert_close(one_call.hidden, step_by_step.hidden, atol=1e-5, rtol=1e-5)
    assert shape == "chain" or budget == 1 or drafts[0].parents != list(range(-1, budget - 1))


@pytest.mark.parametrize("size", [(260, 346), (128, 400), (333, 129), (720, 1280)])
def test_pictures_become_smaller_as_in_opencv(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (*size, 3), np.uint8)
    # rows of a larger picture too, whose bytes do not follow each other
    for image in (noise, cv2.GaussianBlur(noise, (0, 0), 2), np.pad(noise, ((2, 0), (5, 9), (0, 0)))[2:, 5:-9]):
        expected = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(int)
        difference = np.abs(_fit(image) - expected)
        assert difference.max() <= 1  # where a half is rounded
        assert difference.mean() < 0.002


@pytest.mark.parametrize("resolution", [Resolution(346, 260), Resolution(128, 128), Resolution(90, 60)])
def test_events_are_shown_as_by_numpy(resolution: Resolution) -> None:
    rng, n = np.random.default_rng(4), 60_000
    x, y = (rng.integers(0, size, n) for size in (resolution.width, resolution.height))
    x[:9000], y[:9000] = 7, 5  # a hot pixel: more than there is a logarithm ready for
    events = events_from_columns(np.sort(rng.integers(0, 1_000_000, n)), x, y, rng.random(n) < 0.7)
    window = Window(0, 1_000_000, events, [], resolution)
    compiled = event_input(window)
    native.switch(False)
    np.testing.assert_allclose(compiled, event_input(window), atol=2e-6)
    assert compiled[16:18].max() > np.log1p(2000 * SIDE * SIDE / (resolution.width * resolution.height))
    assert {-3.0, 3.0} & {*compiled[18:22].ravel().tolist()}


def test_shifts_of_the_camera_are_those_of_opencv() -> None:
    rng, ground = np.random.default_rng(5), cv2.GaussianBlur(np.random.default_rng(6).random((180, 180)), (0, 0), 2)
    moved = [(0, 0), (3, -2), (-7, 5), (0, 0), (13, 13), (-14, 0), (1, -9), (2, 2)]
    luma = np.stack([ground[20 - y:148 - y, 20 - x:148 - x] for x, y in moved]).astype(np.float32)
    luma += rng.normal(0, 1e-3, luma.shape).astype(np.float32)
    luma[2, :60] = luma[3, :60] = 0.5  # parts without edges have no likeness
    found = camera_shifts(luma)
    assert np.abs(found - np.array(moved)).max() < 0.5
    native.switch(False)
    np.testing.assert_allclose(found, camera_shifts(luma), atol=1e-4)


@torch.inference_mode()
def test_words_point_at_the_same_objects() -> None:
    made, prefix = decoder(replace(CONFIG, layers=6)), 9
    for weight in made.layers[pointing_layer(6)].qkv.parameters():
        weight.data *= 8  # so that some words are about one object
    x, cache = torch.randn(1, prefix + len(TREE), CONFIG.hidden_size), made.new_cache(32)
    made(x[:, :prefix], torch.arange(prefix)[None], None, cache)
    cache.keep(range(prefix))
    at, mask = torch.tensor([9, 10, 10, 11, 9, 10]), attention_mask(TREE[1:], prefix, 1)
    _, tapped = made(x[:, prefix:], at[None], mask[None, None], cache, (pointing_layer(6), FINAL))
    assert tapped is not None
    boxes, entering, rows = [(float(n), 0.0, 1.0, 1.0) for n in range(6)], tapped[0, :, 0], prefix + len(TREE)
    compiled = [locate(made, boxes, entering, at, seen, cache, rows) for seen in (mask, None)]
    cache.compiled = None
    assert compiled == [locate(made, boxes, entering, at, seen, cache, rows) for seen in (mask, None)]
    assert {None} < {*compiled[0]}


@torch.inference_mode()
def test_a_path_that_was_kept_leaves_the_cache_of_plain_decoding() -> None:
    made, prefix = decoder(), 5
    x = torch.randn(1, prefix + 3, CONFIG.hidden_size)
    caches = made.new_cache(16), made.new_cache(16)
    for cache in caches:
        made(x[:, :prefix], torch.arange(prefix)[None], None, cache)
        cache.keep(range(prefix))
    made(x[:, [5, 7, 6]], torch.tensor([[5, 6, 6]]), attention_mask([-1, -1], prefix, 1)[None, None], caches[0])
    caches[0].keep([0, 2])
    for row in (5, 6):
        made(x[:, row:row + 1], torch.tensor([[row]]), None, caches[1])
        caches[1].keep([0])
    assert torch.equal(caches[0].keys[..., :7, :], caches[1].keys[..., :7, :])
    assert torch.equal(caches[0].values[..., :7, :], caches[1].values[..., :7, :])


@torch.inference_mode()
def test_changed_copied_and_moved_weights_are_noticed() -> None:
    made = decoder()
    x, at = torch.randn(1, 1, CONFIG.hidden_size), torch.tensor([[0]])

    def states(of: Decoder) -> torch.Tensor:
        found: torch.Tensor = of(x, at, None, of.new_cache(4))[0]
        return found

    before = states(made)
    with torch.inference_mode(False):
        other = deepcopy(made)
    assert made._native is not None
    assert other._native is None
    with torch.inference_mode(False), torch.no_grad():
        made.layers[1].qkv.weight.mul_(2)
    assert not torch.equal(states(made), before)
    assert torch.equal(states(other), before)
    made.load_state_dict(other.state_dict())
    assert torch.equal(states(made), before)


@pytest.mark.parametrize("change", [{"hidden_size": 72, "head_size": 16}, {"intermediate_size": 100}, {"head_size": 8}])
def test_sizes_that_do_not_fit_registers_are_left_to_torch(change: dict[str, int]) -> None:
    made = decoder(replace(CONFIG, **change))
    with torch.inference_mode():
        made(torch.randn(1, 2, made.config.hidden_size), torch.arange(2)[None], None, made.new_cache(4))
    assert made._native is None


def test_eight_bits_and_learning_are_left_to_torch() -> None:
    made = decoder()
    in_eight_bits(made.layers)
    x, at = torch.randn(1, 2, CONFIG.hidden_size), torch.arange(2)[None]
    with torch.inference_mode():
        made(x, at, None, made.new_cache(4))
    assert made._native is None
    learning = decoder().requires_grad_(True)
    with torch.no_grad():
        learning(x, at, None, learning.new_cache(4))
    assert learning._native is None


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 12, 13, 40])
@pytest.mark.parametrize("outputs", [1, 31, 33, 300])
def test_products_are_torchs_and_rows_independent(halves: bool, rows: int, outputs: int) -> None:
    torch.manual_seed(3)
    weight, x = torch.randn(outputs, 48), torch.randn(rows, 48)
    # the smallest and largest that 16 bits hold, and zero
    weight[0, :3] = torch.tensor([6e-8, -65504.0, 0.0])
    weight = weight.half().float() if halves else weight
    matrix = native.NativeMatrix(weight)
    assert matrix.weight.element_size() == (2 if halves else 4)
    found = matrix.multiply(x)
    torch.testing.assert_close(found, x @ weight.T, atol=1e-5, rtol=1e-5)
    for row in range(rows):
        assert torch.equal(matrix.multiply(x[row]), found[row])


def test_a_layer_with_a_bias_is_compiled_too() -> None:
    layer = PackedLinear(400, 300).requires_grad_(False)
    x = torch.randn(2, 3, 400)
    with torch.inference_mode():
        found = layer(x)
    assert isinstance(layer._copies, packed._Native)
    torch.testing.assert_close(found, torch.nn.functional.linear(x, layer.weight, layer.bias), atol=1e-4, rtol=1e-4)


def test_without_a_compiler_torch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    native.library.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    try:
        assert not native.switch(True)
        assert not native.switched_on()
        with pytest.raises(InputError, match="--compile needs a C compiler"):
            load(ModelOptions(compiled=True))
    finally:
        native.library.cache_clear()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the compiler is told an older processor of this kind")
def test_processors_that_do_not_widen_16_bits_give_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(f'#!/bin/sh\nexec {shutil.which("cc") or shutil.which("gcc")} "$@" -march=x86-64\n')
    compiler.chmod(0o755)
    torch.manual_seed(3)
    weight, x = torch.randn(70, 48), torch.randn(5, 48)
    weight[0, :3] = torch.tensor([6e-8, -65504.0, 0.0])  # the smallest and largest that 16 bits hold
    weight = weight.half().float()
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.library.cache_clear()
    try:
        matrix = native.NativeMatrix(weight)
        assert matrix.weight.element_size() == 2
        torch.testing.assert_close(matrix.multiply(x), x @ weight.T, atol=1e-5, rtol=1e-5)
    finally:
        native.library.cache_clear()


def test_a_compiler_that_fails_is_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                         caplog: pytest.LogCaptureFixture) -> None:
    native.library.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "FLAGS", ("--no-such-flag",))
    try:
        assert not native.switch(True)
        assert "not compiled" in caplog.text
        assert not list((tmp_path / "parafovea").iterdir())
    finally:
        native.library.cache_clear()
