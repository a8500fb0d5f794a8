"""Records become messages, and the page says exactly what was emitted."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from toy_services import SCRIPTS, TREE, ToyModels, said

from pipeline.types import Caption, Cycle, Drafted, Emitted, Node, Span
from streams.types import Resolution, Window, empty_packet
from ui.answer_messages import AnswerDone, AnswerStarted, Marked, Numbers, RoundJudged, WordsDrafted
from ui.protocol import Command, Offers, encode, parse_command, picture_message
from ui.services import AskSettings
from ui.transcript import KEPT, Transcript, judged_words, kept_text, main_line

WINDOW = Window(0, 1_000_000, empty_packet(), [], Resolution(8, 6))


def answer_messages(question: str) -> tuple[Transcript, list]:
    transcript = Transcript(AnswerStarted("a1", "question", question, 0.0, 1.0, "vlm"))
    records = ToyModels(pace=0.0).answer(WINDOW, question, AskSettings(), threading.Event())
    return transcript, [message for record in records for message in transcript.messages(record)]


def node(text: str, parent: int, depth: int, verdict: str, p_draft: float = 0.5) -> Node:
    return Node(text, 1, parent, depth, "vlm", verdict, 0.7, p_draft, 0.4)


def cycle(nodes: list[Node], emitted: list[Emitted]) -> Cycle:
    return Cycle(0, nodes, emitted, [Span("draft", 0.1, 0.2), Span("verify", 0.2, 0.5)])


@pytest.mark.parametrize("question", SCRIPTS)
def test_page_text_is_the_concatenation_of_what_was_emitted(question: str) -> None:
    transcript, messages = answer_messages(question)
    assert kept_text(messages) == transcript.text == said(question)
    assert messages[-1] == transcript.finished
    assert transcript.finished.text == said(question)


def test_kept_words_are_accepted_recovered_bonus_and_plain() -> None:
    _, messages = answer_messages("What is happening?")
    states = [word.state for message in messages if isinstance(message, RoundJudged) for word in message.words]
    assert {state for state in states if state in KEPT} == KEPT
    assert {"rejected", "unreached"} <= set(states)


def test_halves_of_characters_do_not_break_the_channel() -> None:
    _, messages = answer_messages(TREE)
    drafted = next(message for message in messages if isinstance(message, WordsDrafted))
    words = [replace(drafted.words[0], text=" caf\udce9")]
    told = json.loads(encode([Offers(["\udce9.aedat4", "é"], True, True, 1), replace(drafted, words=words)]))
    assert (told[0]["recordings"], told[1]["words"][0]["text"]) == (["?.aedat4", "é"], " caf?")
    assert told[1]["k"] == WordsDrafted.k


def test_a_guess_keeps_its_id_from_draft_to_verdict() -> None:
    _, messages = answer_messages(TREE)
    drafted = {m.round: {word.id for word in m.words} for m in messages if isinstance(m, WordsDrafted)}
    judged = {m.round: {word.id for word in m.words} for m in messages if isinstance(m, RoundJudged)}
    assert drafted
    assert all(ids <= judged[number] for number, ids in drafted.items())


def test_recovered_word_follows_the_guess_it_replaces() -> None:
    words = judged_words("a", cycle([node(" red", -1, 1, "accepted"), node(" car", 0, 2, "rejected"),
                                     node(" here", 1, 3, "unreached")],
                                    [Emitted(" red", 1, "accepted"), Emitted(" ball", 2, "recovered", " car")]))
    assert [(word.text, word.state) for word in words] == [
        (" red", "accepted"), (" car", "rejected"), (" here", "unreached"), (" ball", "recovered")]
    assert words[1].replaced_by == " ball"
    assert words[3].replaces == " car"
    assert words[3].checked_s == 0.5


def test_sentence_shows_the_first_choice_beside_the_sibling_that_was_right() -> None:
    nodes = [node(" blue", -1, 1, "rejected", 0.6), node(" red", -1, 1, "accepted", 0.3),
             node(" old", -1, 1, "rejected", 0.1), node(" box", 0, 2, "unreached"), node(" ball", 1, 2, "accepted")]
    words = judged_words("a", cycle(nodes, [Emitted(" red", 1, "accepted"), Emitted(" ball", 1, "accepted"),
                                            Emitted(".", 1, "bonus")]))
    assert main_line(nodes) == {0, 1, 4}
    assert [word.text for word in words if word.main] == [" blue", " red", " ball", "."]
    assert words[0].replaced_by == " red"


def test_what_was_emitted_decides_the_text_not_the_node() -> None:
    """A stop string cuts a word short, an accepted end token says nothing."""
    words = judged_words("a", cycle([node(" end.X", -1, 1, "accepted"), node("</s>", 0, 2, "accepted")],
                                    [Emitted(" end.", 1, "accepted")]))
    assert [(word.text, word.state) for word in words] == [(" end.", "accepted"), ("", "accepted")]


def test_numbers_count_depth_on_trees_and_the_verifiers_own_word() -> None:
    transcript = Transcript(AnswerStarted("a", "caption", "?", 0.0, 1.0, "vlm"))
    nodes = [node(" a", -1, 1, "accepted"), node(" b", -1, 1, "rejected"), node(" c", 0, 2, "rejected")]
    transcript.messages(Drafted(0, nodes, 0.2))
    messages = transcript.messages(cycle(nodes, [Emitted(" a", 1, "accepted"), Emitted(" d", 2, "recovered", " c")]))
    numbers = next(message for message in messages if isinstance(message, Numbers))
    assert (numbers.acceptance_rate, numbers.words_per_check, numbers.words_per_s) == (0.5, 2.0, 4.0)
    assert (numbers.first_guess_s, numbers.first_word_s) == (0.2, 0.5)


def test_an_answer_stopped_before_its_first_word_has_no_numbers() -> None:
    transcript = Transcript(AnswerStarted("a", "question", "?", 0.0, 1.0, "vlm"))
    caption = Caption(0, 1, "?", "", "vlm", "greedy", True, 0, 0, 0, 0, None, None, 0.0, 0.0, None, None, None,
                      stopped="cancelled")
    numbers, done = transcript.messages(caption)
    assert (numbers.acceptance_rate, numbers.words_per_check, numbers.words_per_s) == (None, None, None)
    assert isinstance(done, AnswerDone)
    assert done.stopped == "cancelled"


def test_wire_form_is_json_without_nan() -> None:
    _, messages = answer_messages(TREE)
    text = encode([*messages, Marked(float("nan"), " größer </script>")])
    items = json.loads(text)
    assert {"drafted", "judged", "numbers", "done", "mark"} == {item["k"] for item in items}
    assert items[-1] == {"k": "mark", "end_s": None, "text": " größer </script>", "start_s": 0.0}


def test_pictures_carry_kind_and_time() -> None:
    assert picture_message(2, 1_500_000, b"JPEG") == bytes([2, 220, 5, 0, 0]) + b"JPEG"
    assert picture_message(1, -5, b"")[1:5] == bytes(4)


@pytest.mark.parametrize(("text", "command"), [
    ('{"k":"toggle"}', Command("toggle")),
    ('{"k":"seek","v":2.5}', Command("seek", 2.5)),
    ('{"k":"speed","v":99}', Command("speed", 8.0)),
    ('{"k":"speed","v":0}', Command("speed", 0.01)),
    ('{"k":"accumulation","v":0}', Command("accumulation", 1.0)),
    ('{"k":"style","v":"surface"}', Command("style", "surface")),
    ('{"k":"layout","v":"over"}', Command("layout", "over")),
    ('{"k":"range","v":[1,2.5]}', Command("range", (1.0, 2.5))),
    ('{"k":"range","v":null}', Command("range", None)),
    ('{"k":"follow"}', Command("follow")),
    ('{"k":"filters","v":["noise:5"]}', Command("filters", ("noise:5",))), ('{"k":"filters","v":[5]}', None),
    ('{"k":"filters","v":"noise"}', None),
    ('{"k":"palette","v":"grey"}', Command("palette", "grey")),
    ('{"k":"captions","v":false}', Command("captions", False)),
])
def test_commands(text: str, command: Command) -> None:
    assert parse_command(text) == command


@pytest.mark.parametrize("text", [
    "", "[]", "3", "null", '{"k":"seek"}', '{"k":"seek","v":"x"}', '{"k":"seek","v":1e999}', '{"k":"seek","v":NaN}',
    '{"k":"palette","v":"red-green"}', '{"k":"palette","v":[]}', '{"k":"style","v":"3d"}', '{"k":"range","v":[2,1]}',
    '{"k":"range","v":[0,1,2]}', '{"k":"range","v":[NaN,1]}', '{"k":"range","v":[0,1e999]}', '{"k":"range","v":"ab"}',
    '{"k":"captions","v":1}', '{"k":"rm -rf"}', '{"k":["seek"],"v":1}'])
def test_nonsense_is_no_command(text: str) -> None:
    assert parse_command(text) is None
