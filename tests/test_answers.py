"""Turns, traces, comparisons and counts: what stands between a question and its words, without a page."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from toy_services import MARKUP, SLOW, TREE, ToyModels, said, toy_services

from pipeline.types import Caption, Cycle, Drafted, Node
from streams.types import InputError, Resolution, Window, empty_packet
from ui.agreement import BINS, AgreementCounts
from ui.answer_messages import AnswerStarted, Compared, Measured
from ui.comparing import compare
from ui.narrator import Narrator
from ui.services import AskSettings
from ui.trace import MAX_NODES, Trace, paced, read_traces, trace_lines
from ui.transcript import Transcript, kept_text
from ui.turns import Turns

WINDOW = Window(0, 1_000_000, empty_packet(), [], Resolution(8, 6))


class Line:
    """Visitors in threads of their own who note when they had the models."""

    def __init__(self) -> None:
        self.turns, self.served, self.places = Turns(), list[str](), list[tuple[str, int]]()
        self._changed = threading.Condition()

    def come(self, name: str, urgent: bool, until: threading.Event | None = None,
             cancel: threading.Event | None = None) -> threading.Thread:
        def visit() -> None:
            with self.turns.take(urgent, cancel or threading.Event(), lambda place: self._told(name, place)) as mine:
                with self._changed:
                    self.served += [name] if mine else []
                    self._changed.notify_all()
                if mine and until is not None:
                    assert until.wait(5)

        thread = threading.Thread(target=visit, daemon=True)
        thread.start()
        return thread

    def _told(self, name: str, place: int) -> None:
        with self._changed:
            self.places.append((name, place))
            self._changed.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 5)


def test_questions_are_served_in_order_and_before_captions() -> None:
    line, done = Line(), threading.Event()
    first = line.come("a", True, done)
    line.until(lambda: line.served == ["a"])
    threads = [first]
    for name, urgent, place in (("caption b", False, 1), ("question c", True, 1), ("question d", True, 2)):
        threads.append(line.come(name, urgent))
        line.until(lambda name=name, place=place: (name, place) in line.places)
    line.until(lambda: ("caption b", 3) in line.places)
    done.set()
    for thread in threads:
        thread.join(5)
    assert line.served == ["a", "question c", "question d", "caption b"]
    assert [place for name, place in line.places if name == "question d"][-1] == 0
    assert "a" not in {name for name, _ in line.places}


def test_who_gives_up_waiting_holds_nobody_up() -> None:
    line, done, cancel = Line(), threading.Event(), threading.Event()
    line.come("a", True, done)
    line.until(lambda: line.served == ["a"])
    gone = line.come("b", True, cancel=cancel)
    line.until(lambda: ("b", 1) in line.places)
    last = line.come("c", True)
    line.until(lambda: ("c", 2) in line.places)
    cancel.set()
    gone.join(5)
    line.until(lambda: ("c", 1) in line.places)
    done.set()
    last.join(5)
    assert line.served == ["a", "c"]


# Traces


def traced(question: str) -> Trace:
    records = list(ToyModels(pace=0.0).answer(WINDOW, question, AskSettings(), threading.Event()))
    return Trace({"question": question, "source": "square", "start_s": 0.0, "end_s": 1.0, "drafter": "vlm",
                  "rates_hz": [1.0, 2.5]}, records)


@pytest.mark.parametrize("question", [TREE, MARKUP, "What is happening?"])
def test_a_trace_read_back_shows_the_same_words(question: str) -> None:
    trace = traced(question)
    (again,) = read_traces(trace_lines(trace), "a.jsonl")
    assert [record for record in again.records if not isinstance(record, Drafted)] == [
        record for record in trace.records if not isinstance(record, Drafted)]
    assert [record.nodes for record in again.records if isinstance(record, Drafted)] == [
        record.nodes for record in trace.records if isinstance(record, Drafted)]
    transcript = Transcript(AnswerStarted("a", "question", question, 0.0, 1.0, "vlm"))
    told = [message for record in paced(replace_times(again), threading.Event())
            for message in transcript.messages(record)]
    assert kept_text(told) == transcript.text == said(question)
    assert again.header["rates_hz"] == [1.0, 2.5]


def replace_times(trace: Trace) -> Trace:
    """The trace without its waiting."""
    records = [record for record in trace.records if not isinstance(record, Drafted)]
    return Trace(trace.header, [Cycle(r.round, r.nodes, r.emitted, []) if isinstance(r, Cycle) else r
                                for r in records if not (isinstance(r, Caption) and r.total_s > 5)])


def test_what_the_command_line_printed_is_a_trace() -> None:
    printed = "".join(json.dumps(record.to_json()) + "\n" for record in traced(TREE).records
                      if not isinstance(record, Drafted))
    first, second = read_traces(printed + printed, "ask.jsonl")
    assert first.header["question"] == second.header["question"] == TREE


def line_of(**changes: object) -> str:
    (row, *_) = [json.loads(line) for line in trace_lines(traced(TREE)).splitlines() if '"cycle"' in line]
    row["drafted"][0] |= changes
    return json.dumps(row)


@pytest.mark.parametrize("text", [
    "", "hello", "[1]", "{}", '{"type":"cycle"}', '{"type":"caption"}', "\x00\xff", "[" * 5000,
    line_of(parent=3), line_of(verdict="<b>"), line_of(text=7), line_of(cos_sim=float("nan")), line_of(depth=-2),
    line_of(text="x" * 20_000), line_of(box=[1, 2])])
def test_what_is_no_trace_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InputError) as refused:
        read_traces(text, "notes.txt")
    assert "notes.txt" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_trace_may_not_be_endless() -> None:
    with pytest.raises(InputError, match="lines"):
        read_traces('{"type":"x"}\n' * 20_001, "a")
    row = json.loads(line_of())
    row["drafted"] = [row["drafted"][0]] * (MAX_NODES + 5)
    (trace,) = read_traces(json.dumps(row), "a")
    assert max(len(record.nodes) for record in trace.records if isinstance(record, Cycle)) == MAX_NODES


# Comparisons


def test_the_speed_up_is_measured_in_both_orders_and_without_memory() -> None:
    models = ToyModels(pace=0.0)
    begun: list[int] = []
    unread = [replace(WINDOW) for _ in range(4)]

    def converse() -> Callable:
        begun.append(1)
        return models.answer

    messages = list(compare(converse, lambda _: unread[len(begun) - 1], WINDOW, TREE, AskSettings("vlm"),
                            threading.Event()))
    result = messages[-1]
    assert isinstance(result, Measured)
    assert [settings.drafter for _, _, settings in models.asked] == ["none", "vlm", "vlm", "none"]
    assert len(begun) == 4
    assert all(asked is fresh for (_, asked, _), fresh in zip(models.asked, unread, strict=True))
    runs = {m.run: m for m in messages if isinstance(m, Compared) and m.done}
    assert [runs[i].text for i in range(4)] == [said(TREE)] * 4
    assert result.same
    assert result.plain_s == pytest.approx((runs[0].seconds + runs[3].seconds) / 2)
    assert result.speedup == pytest.approx((runs[0].seconds + runs[3].seconds) / (runs[1].seconds + runs[2].seconds))


def test_a_comparison_that_is_stopped_measures_nothing() -> None:
    cancel = threading.Event()
    told = []
    for message in compare(lambda: ToyModels(pace=0.0).answer, replace, WINDOW, SLOW, AskSettings(), cancel):
        told.append(message)
        if len(told) == 5:
            cancel.set()
    assert isinstance(told[-1], Measured)
    assert (told[-1].speedup, bool(told[-1].stopped)) == (None, True)


# Counts


def test_agreement_is_counted_by_cosine_and_drafter() -> None:
    counts = AgreementCounts()
    nodes = [Node(" a", 1, -1, 1, "vlm", verdict, cos) for verdict, cos in
             [("accepted", 0.97), ("rejected", 0.96), ("accepted", 1.0), ("rejected", -0.2), ("unreached", 0.5),
              ("accepted", None)]]
    counts.add("vlm", nodes)
    counts.add("eagle", nodes[:1])
    message = counts.message("vlm")
    assert (message.accepted[-1], message.total[-1], message.total[0], sum(message.total)) == (2, 3, 1, 4)
    assert counts.message("eagle").total[int(0.97 * BINS)] == 1


# The narrator without a page


def test_a_trace_is_replayed_through_the_narrator_without_models() -> None:
    models = ToyModels(pace=0.0)
    told: list = []
    services = toy_services(models=models)
    narrator = Narrator(services, told.extend, Turns())
    trace = traced("What is happening?")
    trace.header["file"] = "/tmp/../walk.jsonl"
    asking = narrator.replay(trace)
    assert list(asking.follow())[-1] == said("What is happening?")
    narrator.close()
    assert models.asked == []
    (started,) = [message for message in told if isinstance(message, AnswerStarted)]
    assert started.replayed == "walk.jsonl"


def test_settings_are_said_in_words() -> None:
    assert AskSettings().in_words() == "drafter vlm"
    words = AskSettings("mix", 0.8, 7, budget=4, top_k=5, top_p=0.9).in_words()
    assert words == "drafter mix · temperature 0.8, top-k 5, top-p 0.9, seed 7 · 4 guesses per check"
    assert "LOSSY" in AskSettings(rule="typical").in_words().upper()
