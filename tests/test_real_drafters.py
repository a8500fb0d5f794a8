"""Every drafter on published layouts: EventGPT guesses, LLaVA or Video-LLaVA checks; published draft heads."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import tiny_hub
import torch
from tiny_checkpoints import QUESTION, events, tiny_eventgpt, tiny_llava, tiny_video_llava, window
from toy_models import write_heads

from pipeline import drafters
from pipeline.acceptance import Greedy, Sampling
from pipeline.captioner import Captioner
from pipeline.decoder import DecoderConfig
from pipeline.decoding import Limits
from pipeline.models import Models, load_models
from pipeline.placement import Placement
from pipeline.translation import adopt
from pipeline.types import Caption, Cycle, Rule
from pipeline.vlms import eventgpt
from streams.types import InputError, Window

CPU = torch.device("cpu")
RULES = {"greedy": Greedy(), "sampling": Sampling(0.9, seed=5)}


@lru_cache(4)
def pair(verifier: str) -> Models:
    folder = Path(mkdtemp())
    {"llava": tiny_llava, "videollava": tiny_video_llava, "llavanext": tiny_hub.llava_next}[verifier](folder / "rgb")
    tiny_eventgpt(folder / "event")
    models = load_models(CPU, str(folder / "rgb"), str(folder / "event"))
    assert models.rgb.decoder is not None
    assert models.event is not None
    assert models.event.decoder is not None
    write_heads(folder / "rgb", models.rgb.decoder.config, models.event.decoder.config)
    return models


def seen() -> Window:
    return replace(window(), events=events())


def answer(models: Models, drafter: str, rule: Rule, tokens: int = 40) -> Caption:
    *records, caption = Captioner(models).ask(seen(), QUESTION, drafter, rule, Limits(tokens, budget=5))
    assert isinstance(caption, Caption)
    assert caption.text == "".join(e.text for c in records if isinstance(c, Cycle) for e in c.emitted)
    return caption


@lru_cache(8)
def alone(verifier: str, rule: str) -> str:
    return answer(pair(verifier), "none", RULES[rule]).text


@pytest.mark.parametrize("drafter", [name for name in drafters.every() if name != "none"])
@pytest.mark.parametrize("rule", RULES)
def test_every_drafter_is_lossless(drafter: str, rule: str) -> None:
    assert answer(pair("llava"), drafter, RULES[rule]).text == alone("llava", rule)


@pytest.mark.parametrize("drafter", ["vlm", "vlm:tree", "recall", "eagle", "eagle3", "medusa", "adapter:L4", "skip"])
def test_drafters_are_lossless_with_eight_frames(drafter: str) -> None:
    assert answer(pair("videollava"), drafter, Greedy()).text == alone("videollava", "greedy")


@pytest.mark.parametrize("drafter", ["vlm:tree", "eagle3", "specvlm", "adapter:B1", "mix"])
def test_drafters_are_lossless_with_tiles(drafter: str) -> None:
    assert answer(pair("llavanext"), drafter, Greedy()).text == alone("llavanext", "greedy")


def test_a_verifier_that_drafts_for_itself_is_accepted() -> None:
    """D6: the original compared the guess of token t with the verifier's token t + 1, and accepted 1 %."""
    models = pair("llava")
    caption = answer(replace(models, event=models.rgb, adapter=None), "vlm", Greedy())
    assert caption.accepted == caption.drafted > 0


def config_of(models: Models) -> DecoderConfig:
    assert models.rgb.decoder is not None
    return models.rgb.decoder.config


def published(folder: Path, models: Models, kind: str, rows: int = -2) -> Path:
    """A head as its authors publish it; rows: -2 = made for the language model alone, without words for pictures."""
    folder.mkdir()
    whole = config_of(models)
    config, size, words = replace(whole, layers=1, vocab_size=whole.vocab_size + rows), whole.hidden_size, 300
    said = config.to_llama()
    shapes = {"fc.weight": (size, 2 * size), "fc.bias": (size,), "embed_tokens.weight": (config.vocab_size, size)}
    inner, layer = config.intermediate_size, "layers.0."
    width = size
    if kind == "eagle3":
        layer, width, said = "midlayer.", 2 * size, said | {"draft_vocab_size": words}
        shapes = {"fc.weight": (size, 3 * size), "norm.weight": (size,), "lm_head.weight": (words, size),
                  "midlayer.hidden_norm.weight": (size,), "midlayer.input_layernorm.weight": (size,)}
    if kind == "medusa":
        shapes, said = {}, {"medusa_num_heads": 5, "medusa_num_layers": 1}
        for i in range(3):
            shapes |= {f"{i}.0.linear.weight": (size, size), f"{i}.0.linear.bias": (size,),
                       f"{i}.1.weight": (config.vocab_size, size)}
    else:
        shapes |= {f"{layer}self_attn.{p}_proj.weight": (size, width) for p in "qkv"}
        shapes |= {f"{layer}self_attn.o_proj.weight": (size, size), f"{layer}mlp.gate_proj.weight": (inner, size),
                   f"{layer}mlp.up_proj.weight": (inner, size), f"{layer}mlp.down_proj.weight": (size, inner),
                   f"{layer}post_attention_layernorm.weight": (size,)}
    torch.manual_seed(0)
    state = {name: 0.2 * torch.randn(shape, dtype=torch.float16) for name, shape in shapes.items()}
    if kind == "eagle3":
        chosen = torch.randperm(whole.vocab_size - 2)[:words].sort().values
        known = torch.zeros(config.vocab_size, dtype=torch.bool)
        known[chosen] = True
        state |= {"d2t": chosen - torch.arange(words), "t2d": known}
    torch.save(state, folder / ("medusa_lm_head.pt" if kind == "medusa" else "pytorch_model.bin"))
    (folder / "config.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("kind", ["eagle", "eagle3", "medusa"])
@pytest.mark.parametrize("rows", [-2, 0, 8], ids=["fewer words", "the same words", "padded"])
def test_published_heads_guess_for_a_verifier_with_other_special_tokens(kind: str, rows: int, tmp_path: Path) -> None:
    models = pair("llava")
    assert config_of(models).vocab_size % 64 == 56
    drafter = f"{kind}:{published(tmp_path / kind, models, kind, rows)}"
    for name, rule in RULES.items():
        caption = answer(models, drafter, rule)
        assert caption.text == alone("llava", name)
        assert caption.drafted > 20


def test_heads_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    models = pair("llava")
    folder = published(tmp_path / "eagle", models, "eagle")
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"rope_scaling": {"rope_type": "llama3"},
                                                           "rope_parameters": None}))
    with pytest.raises(InputError, match="unsupported Llama variant: rope type 'llama3'"):
        drafters.create(f"eagle:{folder}", models)
    with pytest.raises(InputError, match="or the folder of a checkpoint"):
        drafters.create("eagle:nothing", models)
    with pytest.raises(InputError, match="no checkpoint in"):
        drafters.create("eagle3", replace(models, heads=tmp_path))


@pytest.mark.parametrize("drafter", ["vlm", "adapter", "eagle", "eagle3", "medusa", "specvlm", "recall", "mix"])
def test_sixteen_bit_models_and_drafters_work_together(drafter: str, tmp_path: Path) -> None:
    """Every tensor is brought to the other's device and type; rounding may let a text differ, so only that it comes."""
    heads = pair("llava").heads
    models = load_models(CPU, str(heads), str(heads.parent / "event"), precision="bf16")
    caption = answer(models, drafter, Greedy(), tokens=20)
    assert caption.tokens > 5
    assert caption.drafted > 0


@pytest.mark.parametrize("drafter", ["vlm", "vlm:tree", "adapter", "adapter:L4"])
def test_the_event_model_may_lie_elsewhere_and_in_another_precision(drafter: str) -> None:
    models = pair("llava")
    beside = eventgpt.load("event", models.heads.parent / "event", Placement(dtype=torch.bfloat16))
    adopt(beside, models.tokenizer)
    caption = answer(replace(models, event=beside), drafter, Greedy())
    assert caption.text == alone("llava", "greedy")


def test_the_config_of_a_head_survives() -> None:
    config = config_of(pair("llava"))
    assert DecoderConfig.from_llama(config.to_llama()) == DecoderConfig(**asdict(config))
