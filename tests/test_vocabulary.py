"""Published tokenizers: every token's bytes, several ends, SentencePiece files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_checkpoints import CORPUS, byte_tokenizer, llama_tokenizer

from pipeline.text import TextStream
from pipeline.vocabulary import HubTokenizer
from streams.types import InputError

TEXTS = ("A red car drives to the left.", "Größe 日本 🚗  two  spaces\nand a line", "¿qué?")
MAKERS = {"llama": llama_tokenizer, "byte-level": byte_tokenizer}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_tokens_are_the_text(maker: str, text: str, tmp_path: Path) -> None:
    MAKERS[maker](tmp_path, ("<image>",))
    tokenizer = HubTokenizer.of(tmp_path)
    tokens, stream = tokenizer.encode(text), TextStream(tokenizer)
    assert "".join(map(stream.push, tokens)) + stream.flush() == text
    assert b"".join(map(tokenizer.bytes_of, tokens)).decode().strip() == text
    assert tokenizer.bytes_of(tokenizer.specials["<image>"]) == b""
    assert tokenizer.size == max(tokenizer.vocabulary.values()) + 1


def test_an_answer_may_end_in_several_ways(tmp_path: Path) -> None:
    byte_tokenizer(tmp_path, ("<|stop|>",))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [3, 4]}')
    (tmp_path / "config.json").write_text('{"eos_token_id": 5}')
    tokenizer = HubTokenizer.of(tmp_path)
    assert tokenizer.ends == {3, 4, 5, tokenizer.specials["<|end|>"]}
    assert tokenizer.eos == tokenizer.specials["<|end|>"]


def test_a_sentencepiece_file_alone_is_enough(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "text").write_text(CORPUS.replace(". ", ".\n"))
    sentencepiece.SentencePieceTrainer.Train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "tokenizer"), model_type="bpe", vocab_size=330,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
    original = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    tokenizer = HubTokenizer.of(tmp_path)
    for text in TEXTS:
        assert tokenizer.pieces(text) == [1, *original.encode(text)]
        assert b"".join(map(tokenizer.bytes_of, tokenizer.encode(text))).decode()[1:] == text


def test_a_folder_without_a_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"copy tokenizer\.json or tokenizer\.model"):
        HubTokenizer.of(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        HubTokenizer.of(tmp_path)
