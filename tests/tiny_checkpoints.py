"""Small random checkpoints in published layouts, with tokenizers made here. Test doubles, never shipped."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
)

from streams.types import Events, Frame, Resolution, Window, empty_packet, events_from_columns

CORPUS = ("What is happening in this scene? A red car drives to the left. The key elements in this scene include a "
          "car, a street and a tree. USER: ASSISTANT: A chat between a curious human and an artificial intelligence "
          "assistant. Describe the scene in detail, please. ") * 4
QUESTION = "What is happening in this scene?"
SIDE, PATCH = 28, 14


@lru_cache(2)
def learnt(byte_level: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a small BPE."""
    tokenizer = Tokenizer(models.BPE())
    if byte_level:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                      show_progress=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    tokenizer.train_from_iterator([CORPUS], trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return tokenizer.get_vocab(), [tuple(pair) for pair in merges]


def llama_tokenizer(folder: Path, specials: tuple[str, ...] = (), bos: bool = True) -> PreTrainedTokenizerFast:
    """Like Llama's: SentencePiece BPE with byte fallback, <s> in front."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary, merges = learnt(byte_level=False)
    names += [name for name in sorted(vocabulary, key=lambda name: vocabulary[name]) if name not in names]
    ids = {name: i for i, name in enumerate(names)}
    inner = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)])
    if bos:
        inner.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    return saved(inner, folder, specials, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def byte_tokenizer(folder: Path, specials: tuple[str, ...] = (), **fields: object) -> PreTrainedTokenizerFast:
    """Like Qwen's: byte-level BPE, nothing in front."""
    vocabulary, merges = learnt(byte_level=True)
    inner = Tokenizer(models.BPE(vocabulary, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return saved(inner, folder, ("<|end|>", *specials), eos_token="<|end|>", pad_token="<|end|>", **fields)


def saved(inner: Tokenizer, folder: Path, specials: tuple[str, ...], **fields: object) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **fields)
    tokenizer.add_special_tokens({"additional_special_tokens": list(specials)})
    tokenizer.save_pretrained(folder)
    return tokenizer


def tiny_clip(hidden: int = 32, heads: int = 4) -> CLIPVisionConfig:
    return CLIPVisionConfig(hidden_size=hidden, intermediate_size=48, num_hidden_layers=3, num_attention_heads=heads,
                            image_size=SIDE, patch_size=PATCH)


def tiny_llama(words: int, layers: int = 6) -> LlamaConfig:
    return LlamaConfig(vocab_size=words, hidden_size=64, intermediate_size=128, num_hidden_layers=layers,
                       num_attention_heads=4, num_key_value_heads=4, rms_norm_eps=1e-5, max_position_embeddings=1024,
                       bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.15)


def tiny_llava(folder: Path, seed: int = 0) -> LlavaForConditionalGeneration:
    """LLaVA-1.5's layout; the head has more rows than there are words, as the published one."""
    torch.manual_seed(seed)
    tokenizer = llama_tokenizer(folder, ("<image>", "<pad>"))
    model = LlavaForConditionalGeneration(LlavaConfig(
        vision_config=tiny_clip(), text_config=tiny_llama(len(tokenizer) + 16), vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(SIDE // PATCH) ** 2)).eval()
    return written(model, folder)


def tiny_video_llava(folder: Path, seed: int = 0) -> VideoLlavaForConditionalGeneration:
    torch.manual_seed(seed)
    tokenizer = llama_tokenizer(folder, ("<image>", "<video>", "<pad>"))
    model = VideoLlavaForConditionalGeneration(VideoLlavaConfig(
        vision_config=tiny_clip(), text_config=tiny_llama(len(tokenizer)), vision_feature_layer=-2,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        video_seq_length=8 * ((SIDE // PATCH) ** 2 + 1))).eval()
    return written(model, folder)


def written(model: object, folder: Path, **how: object) -> object:
    """A model with lively weights, saved beside its tokenizer and its preprocessing."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean().round()), std=0.1)
    model.save_pretrained(folder, **how)
    (folder / "preprocessor_config.json").write_text(json.dumps(
        {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": SIDE}, "resample": 3,
         "crop_size": {"height": SIDE, "width": SIDE}}))
    return model.requires_grad_(False)


def window(seed: int = 0, frames: int = 10, width: int = 48, height: int = 36) -> Window:
    """A window of random frames and no events."""
    rng = np.random.default_rng(seed)
    pictures = [Frame((2 * i + 1) * 500_000 // frames, 0, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
                for i in range(frames)]
    return Window(0, 1_000_000, empty_packet(), pictures, Resolution(width, height))


def tiny_eventgpt(folder: Path, seed: int = 0, marked: bool = False, adapted: bool = True, **config: object,
                  ) -> dict[str, torch.Tensor]:
    """EventGPT's published layout in one .bin; marked: embeddings have rows for <ev_start> and <ev_end>."""
    torch.manual_seed(seed)
    tokenizer = llama_tokenizer(folder)
    words = len(tokenizer) + (2 if marked else 0)
    language, tower = LlamaForCausalLM(tiny_llama(words)), CLIPVisionModel(tiny_clip(128, 2))
    parts = {"model.visual_projector.": torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.GELU(),
                                                            torch.nn.Linear(64, 64))}
    if adapted:
        parts["model.feature_adaptor."] = torch.nn.Linear(64, 64)
    state = dict(language.state_dict())
    state |= {f"model.visual_tower.visual_tower.vision_model.{name}": value
              for name, value in tower.state_dict().items()}
    state |= {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    state = {name: value + 0.1 * torch.randn_like(value) for name, value in state.items()}
    torch.save(state | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}, folder / "pytorch_model.bin")
    fields = language.config.to_dict() | {
        "model_type": "EventChat_llama", "architectures": ["EventChatModel"],
        "mm_visual_tower": "openai/clip-vit-large-patch14-336", "mm_use_im_patch_token": False,
        "mm_use_im_start_end": marked, **({"event_feature_adaptor": "linear"} if adapted else {}), **config}
    (folder / "config.json").write_text(json.dumps(fields))
    return state


def events(seed: int = 0, count: int = 20_000, span_us: int = 50_000, start_us: int = 475_000) -> Events:
    """Sorted random events in 48x36 pixels, several per pixel."""
    rng = np.random.default_rng(seed)
    return events_from_columns(start_us + np.sort(rng.integers(0, span_us, count)), rng.integers(0, 48, count),
                               rng.integers(0, 36, count), rng.random(count) < 0.6)
