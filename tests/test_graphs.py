"""Passes of fixed shape are the ordinary passes, and what is recorded of them once holds for every later one.

Without a GPU a recorder of torch's operators stands in for CUDA's: like a graph it keeps which operator read and wrote
which memory, and repeats that without asking Python for anything.
"""

import contextlib
import gc
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tiny_checkpoints import tiny_llava
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from toy_models import toy_models, toy_window

from app import compose
from app.compose import ModelOptions, choose_device, load
from pipeline import drafters, graphs, models, native
from pipeline.acceptance import Greedy, Sampling
from pipeline.decoder import FINAL, Decoder, DecoderConfig, KVCache
from pipeline.decoding import Ending, Limits, decode
from pipeline.graphs import SIZES, Graphs, Memory, Passed
from pipeline.models import Models, load_models
from pipeline.placement import CPU
from pipeline.trees import attention_mask, positions
from pipeline.types import Draft, Rule
from streams.types import InputError

CONFIG = DecoderConfig(61, 32, 48, 3, 4, 2, 8, max_positions=400)
TAPS = (1, FINAL)
TREE = [-1, 0, 0, 2, -1, 4]
SHAPES = {"one": [], "two": [-1], "tree": TREE, "chain": list(range(-1, 15)), "most": list(range(-1, 30)),
          "full": [-1, *[0] * 30]}
CAPACITY = 60


class Tape(TorchDispatchMode):
    """Keeps the operators that run inside, with the very memory that they read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.is_view:
            return out  # looks at memory that stays
        made = out if isinstance(out, (tuple, list)) else (out,)
        read = [arg for arg in args if isinstance(arg, torch.Tensor)]

        def again() -> None:
            fresh = func(*args, **(kwargs or {}))
            for old, new in zip(made, fresh if isinstance(fresh, (tuple, list)) else (fresh,), strict=True):
                if isinstance(old, torch.Tensor) and not any(old is one for one in read):
                    old.copy_(new)

        self.steps.append(again)
        return out

    def replay(self) -> None:
        for step in self.steps:
            step()


class Recorder:
    """A capture that never calls the pass again after recording it; counts."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Callable[[], Passed]) -> tuple[Callable[[], object], Passed]:
        self.recorded += 1
        with Tape() as tape:
            passed = work()
        for result in passed:
            if result is not None:
                result.fill_(float("nan"))  # a graph that is recorded has not run

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return replay, passed


def decoder(config: DecoderConfig = CONFIG, seed: int = 1) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(config).requires_grad_(False).eval()


def recorded(made: Decoder) -> list[Recorder]:
    """Give a decoder graphs; returns who records for each of its memories."""
    recorders: list[Recorder] = []

    def recorder() -> Recorder:
        recorders.append(Recorder())
        return recorders[-1]

    made.graphs = Graphs(made, recorder)
    return recorders


def states(made: Decoder, rows: int, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randn(1, rows, made.config.hidden_size).to(made.embed.weight)


@torch.inference_mode()
def read(made: Decoder, cache: KVCache, prefix: int, seed: int = 2) -> None:
    x = states(made, prefix, seed)
    made(x, torch.arange(prefix, device=x.device)[None], None, cache)
    cache.keep(range(prefix))


@torch.inference_mode()
def checked(made: Decoder, cache: KVCache, parents: list[int], seed: int = 3) -> Passed:
    draft = Draft([0] * len(parents), parents, [""] * len(parents))
    x, start = states(made, len(parents) + 1, seed), cache.length
    mask = attention_mask(parents, start, 1)[None, None].to(x.device) if parents else None
    return made(x, positions(draft.depths(), start, 1)[None].to(x.device), mask, cache, TAPS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("prefix", [1, 20, CAPACITY])
@pytest.mark.parametrize("heads", [2, 4])
def test_a_pass_of_fixed_shape_is_the_ordinary_one(shape: str, prefix: int, heads: int,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "STEP", 4)  # no more room than needed
    made, parents = decoder(replace(CONFIG, kv_heads=heads)), SHAPES[shape]
    prefix = min(prefix, CAPACITY - len(parents) - 1)  # the last: no row of the cache is left after the pass
    plain = made.new_cache(CAPACITY)
    recorders = recorded(made)
    fixed = made.new_cache(CAPACITY)
    assert fixed.capacity == plain.capacity
    for cache in (plain, fixed):
        read(made, cache, prefix)
    rows = prefix + len(parents) + 1
    fixed.keys[:, :, :, rows:] = 1e4  # what others left behind
    fixed.values[:, :, :, rows:] = -1e4
    found, wanted = list[Passed](), list[Passed]()
    for again in range(2):  # the first of them records
        wanted.append(checked(made, plain, parents, again))
        found.append(checked(made, fixed, parents, again))
        assert fixed.fixed is not None
        assert fixed.fixed._mask.any(-1).all()  # no average over nothing
        for ours, theirs in ((fixed.keys, plain.keys), (fixed.values, plain.values)):
            torch.testing.assert_close(ours[:, :, :, :rows], theirs[:, :, :, :rows], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)  # the first outlives the second
    assert recorders[0].recorded == len(SIZES)
    assert recorders[0].replayed == 2


def laid_out(rows: int, length: int, total: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions [1, rows], a mask that lets a chain see what was before, and where it is written."""
    mask = torch.zeros(1, 1, rows, total, dtype=torch.bool)
    mask[0, 0, :, :length + rows] = attention_mask(list(range(-1, rows - 2)), length, 1)
    at = torch.arange(length, length + rows)
    return at[None], mask, at


@torch.inference_mode()
def test_rows_that_fill_up_change_nothing() -> None:
    made, length, real, size, total = decoder(), 9, 3, 8, 64
    torch.manual_seed(5)
    before, x = torch.randn(2, 3, 1, 2, total, 8), torch.randn(1, real, 32)
    found = []
    for filling in (0.0, 1e4, -1e4):
        keys, values = before.clone()
        at, mask, rows = laid_out(size, length, total)
        mask[:, :, real:] = torch.arange(total) < (1 if filling == 0 else length)
        filled = torch.cat([x, torch.full((1, size - real, 32), filling)], 1)
        passed, tapped = made.through_layers(filled, at, mask, Memory(keys, values, rows), TAPS)
        others = torch.ones(total, dtype=torch.bool)
        others[length:length + size] = False
        assert torch.equal(torch.stack([keys, values])[..., others, :], before[..., others, :])
        seen = [store[:, :, :, length:length + real] for store in (keys, values)]
        found.append([passed[:, :real], tapped[:, :real], *seen])  # type: ignore[index]
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_one_graph_per_size_and_none_per_length_or_session() -> None:
    """What Dynamo can trace whole has no choice of Python's in it that depends on a number in a tensor."""
    made, traced = decoder(), list[int]()

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        traced.append(len(inputs))
        return graph.forward

    run = torch.compile(made.through_layers, fullgraph=True, dynamic=False, backend=backend)
    for _ in range(2):
        keys, values = torch.zeros(2, 3, 1, 2, 64, 8)
        for size in (1, 4):
            for length in (2, 17, 60):
                at, mask, rows = laid_out(size, length, 64)
                x = torch.randn(1, size, 32)
                with torch.inference_mode():
                    found = run(x, at, mask, Memory(keys, values, rows), TAPS)
                    wanted = made.through_layers(x, at, mask, Memory(keys, values, rows), TAPS)
                torch.testing.assert_close(found, wanted)
    assert len(traced) == 2


def test_a_pass_never_waits_for_the_device_nor_mixes_two() -> None:
    """Tensors without numbers: reading one, or meeting a tensor of a processor, is an error, as it is while a graph is
    recorded."""
    made = decoder().to("meta")
    recorders = recorded(made)
    cache = made.new_cache(CAPACITY)
    cache.length = 20
    for parents in SHAPES.values():
        passed, tapped = checked(made, cache, parents)
        assert passed.is_meta
        assert tapped is not None
        assert tapped.shape == (1, len(parents) + 1, len(TAPS), CONFIG.hidden_size)
    assert recorders[0].replayed == len(SHAPES)
    with pytest.raises(RuntimeError, match="meta"):
        passed.sum().item()
    with pytest.raises(RuntimeError, match="meta"):
        _ = passed + torch.ones(1, 1, 1)


EVENT_MODEL_READS = ("vlm", "vlm:tree", "adapter:L4", "mix")


def said(pair: Models, name: str, rule: Rule, times: int = 2) -> list[list[int]]:
    drafter, found = drafters.create(name, pair), list[list[int]]()
    for start_us in range(times):
        window = toy_window(start_us)
        *_, ending = decode(pair.rgb.open(window, "What is happening?"), drafter, rule, pair.tokenizer, window,
                            "What is happening?", Limits(max_new_tokens=30, budget=7))
        assert isinstance(ending, Ending)
        found.append(ending.tokens)
    return found


@pytest.mark.parametrize("rule", [Greedy(), Sampling(1.0, seed=3)], ids=str)
@pytest.mark.parametrize("name", ["none", "vlm", "vlm:tree", "eagle3", "skip:0", "adapter:L4", "adapter:L6", "mix"])
def test_answers_are_those_of_plain_decoding(name: str, rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, pair, drafts = said(toy_models(), "none", rule), toy_models(), name in EVENT_MODEL_READS
    # the copy that L6 changes asks for graphs by itself
    monkeypatch.setattr(graphs, "use", recorded)
    assert pair.event is not None
    decoders = [vlm.decoder for vlm in (pair.rgb, pair.event) if vlm.decoder is not None]
    for made in decoders:
        graphs.use(made)
    assert said(pair, name, rule) == wanted
    lent = [made.graphs._free if made.graphs is not None else [] for made in decoders]
    assert [len(free) for free in lent] == [1, int(drafts)]  # an answer that is over gives its memory back
    assert all(cast(Recorder, one._capture).replayed for free in lent for one in free)


def test_a_memory_is_lent_again_with_its_graphs() -> None:
    made = decoder()
    plain, recorders = made.new_cache(CAPACITY), recorded(made)
    read(made, plain, 20, seed=8)
    first, second = made.new_cache(CAPACITY), made.new_cache(CAPACITY)
    assert first.keys.data_ptr() != second.keys.data_ptr()
    for seed, cache in ((8, first), (9, second)):
        read(made, cache, 20, seed)
    wanted = checked(made, plain, TREE)
    for _ in range(2):  # by turns: neither disturbs the other
        checked(made, second, TREE)
        torch.testing.assert_close(checked(made, first, TREE), wanted, atol=2e-5, rtol=1e-5)
    place = first.keys.data_ptr()
    with torch.inference_mode():  # an answer that went wrong
        seen = attention_mask(SHAPES["chain"], 20, 1)[None, None]
        made(torch.full((1, 17, 32), float("nan")), torch.arange(20, 37)[None], seen, first, TAPS)
    assert first.keys.isnan().any()
    del first, cache
    gc.collect()
    third = made.new_cache(CAPACITY)
    assert third.keys.data_ptr() == place
    read(made, third, 20, seed=8)
    torch.testing.assert_close(checked(made, third, TREE), wanted, atol=2e-5, rtol=1e-5)
    assert [recorder.recorded for recorder in recorders] == [len(SIZES)] * 2


def test_what_no_longer_fits_makes_room() -> None:
    made = decoder()
    recorders = recorded(made)
    for capacity, weight, memories in ((CAPACITY, None, 1), (350, None, 2), (CAPACITY, None, 2), (CAPACITY, 2.0, 3)):
        if weight is not None:  # lies elsewhere: a graph would go on with the old one
            made.norm.weight = nn.Parameter(made.norm.weight * weight, requires_grad=False)
        cache = made.new_cache(capacity)
        read(made, cache, 5)
        fixed, _ = checked(made, cache, TREE)
        assert made.graphs is not None
        assert len(made.graphs._free) == 0
        assert len(recorders) == memories
        kept, made.graphs = made.graphs, None
        plain = made.new_cache(capacity)
        read(made, plain, 5)
        torch.testing.assert_close(fixed, checked(made, plain, TREE)[0], atol=2e-5, rtol=1e-5)
        made.graphs = kept
        del cache
    with pytest.raises(ValueError, match="too long"):
        checked(made, made.new_cache(3), TREE)


def test_what_cannot_be_recorded_passes_as_before(tmp_path: Path) -> None:
    made = decoder()
    recorders = recorded(made)
    cache = made.new_cache(CAPACITY)
    read(made, cache, 3)
    x, at, mask = states(made, 2, 4), torch.tensor([[3, 4]]), attention_mask([-1], 3, 1)[None, None]
    with torch.inference_mode():
        made(x, at, mask, cache, TAPS, skip=(1,))
        made(x, at, mask, cache, TAPS, cosines=[])
        long = states(made, SIZES[-1] + 1, 4)
        made(long, torch.arange(3, 4 + SIZES[-1])[None], attention_mask(list(range(-1, 31)), 3, 1)[None, None], cache)
    made(x, at, mask, cache, TAPS)  # with gradients
    assert [recorder.recorded for recorder in recorders] == [0]
    assert graphs.use(None) == "it runs through transformers"
    assert graphs.use(made) == "it runs on cpu"
    tiny_llava(tmp_path)
    assert load_models(CPU, str(tmp_path)).ordinary == {}
    loaded = load_models(CPU, str(tmp_path), captured=True)
    assert loaded.ordinary == {tmp_path.name: "it runs on cpu"}
    assert "CUDA graphs" not in loaded.summary
    assert replace(loaded, ordinary={"one": None, "two": "why"}).summary.endswith("checks; CUDA graphs: one")


def test_quantised_matrices_are_left_alone() -> None:
    made = decoder().to("meta")
    del made.embed
    made.embed = SimpleNamespace(weight=SimpleNamespace(device=torch.device("cuda", 0)))
    assert graphs.use(made) is None
    assert made.graphs is not None
    made.graphs = None
    made.layers[1].down = nn.Linear(48, 32, bias=False, device="meta")  # as bitsandbytes puts its own there
    assert "quantised" in str(graphs.use(made))
    assert made.graphs is None


def test_whoever_asks_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = list[bool]()

    def loading(*arguments: Any) -> Models:
        asked.append(arguments[-1])
        return replace(toy_models(), ordinary={"one": None, "two": "it runs on cpu"} if asked[-1] else {})

    monkeypatch.setattr(models, "load_models", loading)
    monkeypatch.setattr(compose, "choose_device", lambda name: torch.device(name))
    monkeypatch.setattr(native, "switch", lambda on: False)  # a machine without a C compiler
    threads = torch.get_num_threads()
    try:
        for device, compiled in (("cuda:0", True), ("cuda:0", None), ("cuda:0", False), ("cpu", None)):
            load(ModelOptions(device, compiled=compiled))
        with pytest.raises(InputError, match="--compile needs a C compiler"):
            load(ModelOptions("cpu", compiled=True))
    finally:
        torch.set_num_threads(threads)
    assert asked == [True, False, False, False]
    assert capsys.readouterr().err == "parafovea: --compile makes no CUDA graphs of two: it runs on cpu\n"


def test_a_gpu_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, number in (("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)):
        assert choose_device(name) == torch.device("cuda", number)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU"))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_two_answers_by_turns(shape: str, dtype: torch.dtype, device: str) -> None:
    """On a GPU with CUDA's own graphs, which nothing else here runs."""
    made, parents = decoder().to(device, dtype), SHAPES[shape]
    plain = made.new_cache(CAPACITY)
    if device == "cpu":
        recorded(made)
    else:
        assert graphs.use(made) is None
    caches = [made.new_cache(CAPACITY) for _ in range(2)]
    for seed, cache in ((7, plain), (7, caches[0]), (8, caches[1])):
        read(made, cache, 20, seed)
    exact = {"atol": 2e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 5e-2, "rtol": 5e-2}
    for kept in ([0], [0, len(parents)][:len(parents) + 1], []):
        checked(made, caches[1], TREE, seed=4)
        wanted = checked(made, plain, parents)
        torch.testing.assert_close(checked(made, caches[0], parents), wanted, **exact)
        for cache in (plain, caches[0]):
            cache.keep(kept)


def test_a_pass_is_warmed_up_and_recorded_on_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: the order in which CUDA is told what to do, in words that torch knows."""
    done, wanted = list[str](), inspect.signature(torch.cuda.graph)

    @contextlib.contextmanager
    def inside(name: str) -> Iterator[None]:
        done.append(f"[{name}")
        yield
        done.append("]")

    def recording(*arguments: Any, **named: Any) -> contextlib.AbstractContextManager[None]:
        given = wanted.bind(*arguments, **named).arguments
        return inside(f"record {given['cuda_graph']} {given['pool']} {given['stream']} {given['capture_error_mode']}")

    class Stream(str):
        def wait_stream(self, other: str) -> None:
            done.append(f"{self} after {other}")

    class Graph(str):
        def replay(self) -> None:
            done.append("replay")

    cuda = {"Stream": lambda device, priority: Stream("own"), "current_stream": lambda: Stream("now"),
            "graph_pool_handle": lambda: "pool", "CUDAGraph": lambda: Graph("graph"), "graph": recording,
            "stream": lambda stream: inside(f"on {stream}"), "device": lambda device: inside(str(device))}
    for name, stand_in in cuda.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    nothing = torch.zeros(0), None
    replay, passed = graphs.cuda_capture(torch.device("cuda", 1))(lambda: done.append("pass") or nothing)  # type: ignore
    assert passed is nothing
    replay()
    assert done == ["[cuda:1", "own after now", "[on own", *["pass"] * graphs.WARM_UPS, "]", "now after own",
                    "[record graph pool own thread_local", "pass", "]", "]", "replay"]
