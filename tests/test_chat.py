"""The chat: bounded on the page, complete in the file, never markup, brought back after a restart."""

from __future__ import annotations

from ui.chat import KEPT, SHOWN, Chat


def long_chat(questions: int) -> Chat:
    chat = Chat()
    for i in range(questions):
        chat.begin(f"question {i}?")["content"] = f" answer <b>{i}</b>"
    return chat


def test_the_page_shows_the_newest_and_says_how_many_are_older() -> None:
    assert len(long_chat(SHOWN // 2).shown()) == SHOWN
    shown = long_chat(50).shown()
    assert len(shown) == SHOWN + 1
    assert "44 earlier questions" in shown[0]["content"]
    assert shown[-1] == {"role": "assistant", "content": " answer &lt;b&gt;49&lt;/b&gt;"}


def test_the_file_has_all_as_it_was_said() -> None:
    lines = long_chat(50).text().splitlines()
    assert len(lines) == 100
    assert lines[:2] == ["Question: question 0?", "Answer: answer <b>0</b>"]


def test_memory_is_bounded() -> None:
    chat = long_chat(KEPT)
    assert len(chat.turns) == KEPT
    assert chat.turns[0] == {"role": "user", "content": f"question {KEPT // 2}?"}
    assert chat.last_question() == f"question {KEPT - 1}?"


def test_a_page_brings_its_chat_back() -> None:
    old, new = long_chat(50), Chat()
    blocks = [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in old.shown()]
    for shown in (old.shown(), blocks):
        new.bring_back(shown)
        assert new.turns == old.turns[-SHOWN:]
    new.bring_back([{"role": "system", "content": "x"}, {"role": "assistant", "content": [3]}])
    assert new.turns == []
    assert new.last_question() is None
