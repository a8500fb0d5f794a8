"""Small random checkpoints of other families, each with a processor made here. Test doubles, never shipped."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tiny_checkpoints import SIDE, byte_tokenizer, llama_tokenizer, tiny_clip, tiny_llama, tiny_llava, written
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

TEMPLATE = ("{% for message in messages %}USER: {% for part in message['content'] %}{% if part['type'] == 'image' %}"
            "PICTURE{% else %}{{ part['text'] }}{% endif %}{% endfor %} ASSISTANT:{% endfor %}")
LANGUAGE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.15}
SIGLIP = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
          "patch_size": 14}


def finished(model: torch.nn.Module, folder: Path, picture: str, processor: dict[str, object],
             **fields: object) -> torch.nn.Module:
    """Save a model with its processor's files."""
    written(model.eval(), folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "processor_config.json").write_text(json.dumps(fields))
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("PICTURE", picture))
    return model


def llava(folder: Path) -> torch.nn.Module:
    model = tiny_llava(folder)
    return finished(model, folder, "<image>\n", {"image_processor_type": "CLIPImageProcessor", "size": {
        "shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}, processor_class="LlavaProcessor",
        patch_size=14, vision_feature_select_strategy="default", image_token="<image>", num_additional_image_tokens=1)


def llava_next(folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    tokenizer = llama_tokenizer(folder, ("<image>", "<pad>"))
    mark, grid = tokenizer.convert_tokens_to_ids("<image>"), [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
    model = LlavaNextForConditionalGeneration(LlavaNextConfig(
        vision_config=tiny_clip(), text_config=tiny_llama(len(tokenizer)), image_token_index=mark,
        image_grid_pinpoints=grid, image_seq_length=4))
    return finished(model, folder, "<image>\n", {
        "image_processor_type": "LlavaNextImageProcessor", "size": {"shortest_edge": SIDE},
        "image_grid_pinpoints": grid, "crop_size": {"height": SIDE, "width": SIDE}},
        processor_class="LlavaNextProcessor", patch_size=14, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1)


QWEN = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
QWEN_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"


def qwen2_vl(folder: Path) -> torch.nn.Module:
    return _qwen(folder, Qwen2VLConfig, Qwen2VLForConditionalGeneration, {"embed_dim": 32, "hidden_size": 64},
                 "Qwen2VLProcessor")


def qwen2_5_vl(folder: Path) -> torch.nn.Module:
    vision = {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "window_size": 28,
              "fullatt_block_indexes": [1]}
    return _qwen(folder, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, vision, "Qwen2_5_VLProcessor")


def _qwen(folder: Path, config: type, kind: type, vision: dict[str, object], processor: str) -> torch.nn.Module:
    torch.manual_seed(0)
    tokenizer = byte_tokenizer(folder, QWEN)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in QWEN}
    rope = {"rope_type": "default", "type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    model = kind(config(
        text_config=LANGUAGE | {"vocab_size": len(tokenizer), "rope_scaling": rope, "rope_parameters": rope,
                                "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None},
        vision_config={"depth": 2, "num_heads": 4, "patch_size": 14, **vision},
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        eos_token_id=tokenizer.eos_token_id))
    return finished(model, folder, QWEN_PICTURE, {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14,
                                                  "merge_size": 2, "min_pixels": 28 * 28, "max_pixels": 28 * 28 * 4},
                    processor_class=processor)


def idefics3(folder: Path) -> torch.nn.Module:
    """SmolVLM's elder: the same architecture under another name."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer(folder, ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"))
    model = Idefics3ForConditionalGeneration(Idefics3Config(
        text_config=LANGUAGE | {"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0,
                                "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None},
        vision_config=SIGLIP | {"image_size": 56}, scale_factor=2, pad_token_id=0,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>")))
    return finished(model, folder, "<image>", {
        "image_processor_type": "Idefics3ImageProcessor", "do_image_splitting": False, "size": {"longest_edge": 56},
        "max_image_size": {"longest_edge": 56}}, processor_class="Idefics3Processor", image_seq_len=4)


def gemma3(folder: Path) -> torch.nn.Module:
    """Most of its layers see only the last few tokens, and pictures see themselves in both directions."""
    torch.manual_seed(0)
    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = byte_tokenizer(folder, tuple(names.values()), extra_special_tokens=names)
    model = Gemma3ForConditionalGeneration(Gemma3Config(
        text_config=LANGUAGE | {"vocab_size": len(tokenizer), "head_dim": 16, "sliding_window": 12,
                                "tie_word_embeddings": False,
                                "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": 0,
                                "layer_types": ["sliding_attention", "sliding_attention", "full_attention",
                                                "sliding_attention"]},
        vision_config=SIGLIP | {"image_size": 56}, mm_tokens_per_image=4, tie_word_embeddings=False,
        image_token_id=tokenizer.convert_tokens_to_ids("<image_soft_token>"), eos_token_id=tokenizer.eos_token_id,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>")))
    return finished(model, folder, "<start_of_image>", {
        "image_processor_type": "Gemma3ImageProcessor", "size": {"height": 56, "width": 56}, "do_pan_and_scan": False},
        processor_class="Gemma3Processor", image_seq_length=4)


def internvl(folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
             "video_token": "<video>"}
    tokenizer = byte_tokenizer(folder, tuple(names.values()), extra_special_tokens=names)
    vision = {key: value for key, value in SIGLIP.items() if key != "patch_size"}
    model = InternVLForConditionalGeneration(InternVLConfig(
        text_config=LANGUAGE | {"model_type": "qwen2", "vocab_size": len(tokenizer), "bos_token_id": None,
                                "eos_token_id": tokenizer.eos_token_id},
        vision_config=vision | {"image_size": [28, 28], "patch_size": [14, 14]}, image_seq_length=1,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")))
    return finished(model, folder, "<IMG_CONTEXT>\n", {
        "image_processor_type": "GotOcr2ImageProcessor", "size": {"height": 28, "width": 28}, "crop_to_patches": False},
        processor_class="InternVLProcessor", image_seq_length=1)


FAMILIES = {"llava": llava, "llava_next": llava_next, "qwen2_vl": qwen2_vl, "qwen2_5_vl": qwen2_5_vl,
            "idefics3": idefics3, "gemma3": gemma3, "internvl": internvl}
