"""Records of an answer (Drafted, Cycle, Caption) turned into messages for the page. Pure: no threads, no clock.

    transcript = Transcript(AnswerStarted("q1", "question", "What is happening?", start_s=1.0, end_s=2.0))
    for record in records:
        send(transcript.messages(record))
    transcript.text            # what the page says: the concatenation of everything emitted

The law: the text of the accepted, recovered, bonus and plain words of all rounds, in order, is the answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.types import Caption, Cycle, Drafted, Node, Record
from ui.answer_messages import AnswerDone, AnswerStarted, Numbers, RoundJudged, Word, WordsDrafted, Work
from ui.protocol import Message

KEPT = {"accepted", "recovered", "bonus", "plain"}
"""States of the words that are part of the answer."""


def kept_text(messages: Iterable[Message]) -> str:
    """What a page shows as the answer after these messages."""
    rounds = {message.round: message.words for message in messages if isinstance(message, RoundJudged)}
    return "".join(word.text for number in sorted(rounds) for word in rounds[number] if word.state in KEPT)


def main_line(nodes: list[Node]) -> set[int]:
    """The guesses of a draft that the sentence shows.

    That is the accepted path, continued by the likeliest guesses, and where the drafter's first choice was
    wrong and a sibling of it right, the first choice as well.
    """
    line: set[int] = set()
    parent = -1
    while children := [i for i, node in enumerate(nodes) if node.parent == parent]:
        first = max(children, key=lambda i: (nodes[i].p_draft or 0.0, -i))
        parent = next((i for i in children if nodes[i].verdict == "accepted"), first)
        line |= {first, parent}
    return line


def _guess(answer: str, round_: int, index: int, node: Node, main: bool, drafted_s: float | None,
           text: str, checked_s: float | None = None, replaced_by: str | None = None) -> Word:
    """One drafted node as a word; text: what it says in the answer."""
    parent = None if node.parent < 0 else f"{answer}.{round_}.{node.parent}"
    return Word(f"{answer}.{round_}.{index}", text, node.verdict, round_, main, node.depth, parent,
                node.origin, _short(node.cos_sim), _short(node.p_draft), _short(node.p_verify), drafted_s, checked_s,
                replaced_by=replaced_by, box=node.box)


def _short(number: float | None) -> float | None:
    """What a page shows needs no seventeen digits."""
    return None if number is None else round(number, 5)


def drafted_words(answer: str, drafted: Drafted) -> list[Word]:
    """The guesses of a round before their check."""
    main = main_line(drafted.nodes)
    return [_guess(answer, drafted.round, i, node, i in main, drafted.at_s, node.text)
            for i, node in enumerate(drafted.nodes)]


def judged_words(answer: str, cycle: Cycle, drafted_s: float | None = None) -> list[Word]:
    """The guesses of a round with their verdicts, then the verifier's own words.

    The n-th emitted token of kind "accepted" is the n-th accepted node of the path and lends it its text: the
    answer is what was emitted (a stop string may cut a node short, a split character may come late).
    """
    main = main_line(cycle.nodes)
    checked_s = max((span.end_s for span in cycle.spans if span.lane == "verify"), default=None)
    path = [i for i, node in enumerate(cycle.nodes) if node.verdict == "accepted"]
    said = [token for token in cycle.emitted if token.kind == "accepted"]
    own = [token for token in cycle.emitted if token.kind != "accepted"]
    texts = dict(zip(path, [token.text for token in said] + [""] * len(path), strict=False))
    following = {cycle.nodes[i].parent: cycle.nodes[i].text for i in path}
    if own and own[0].kind == "recovered":
        following[path[-1] if path else -1] = own[0].text
    words = []
    in_order = sorted(enumerate(cycle.nodes), key=lambda item: (item[1].depth, item[1].verdict == "accepted"))
    for i, node in in_order:
        replaced_by = following.get(node.parent) if node.verdict == "rejected" else None
        words.append(_guess(answer, cycle.round, i, node, i in main, drafted_s, texts.get(i, node.text), checked_s,
                            replaced_by))
    for i, token in enumerate(said[len(path):] + own):
        words.append(Word(f"{answer}.{cycle.round}.v{i}", token.text, token.kind, cycle.round,
                          depth=len(path) + 1, origin="verifier", checked_s=checked_s, replaces=token.replaces,
                          box=token.box))
    return words


class Transcript:
    """One answer in the making, as the page sees it; counts as it goes. waited_s: how long it waited for its turn."""

    def __init__(self, started: AnswerStarted) -> None:
        self.id, self.who, self.started = started.id, started.who, started
        self.text = ""
        self.waited_s = 0.0
        self.finished: AnswerDone | None = None
        self._drafted_s: dict[int, float] = {}
        self._words = self._checks = self._accepted = self._depth = 0
        self._first_guess_s: float | None = None
        self._first_word_s: float | None = None
        self._last_s: float | None = None

    def messages(self, record: Record, rate_hz: float | None = None) -> list[Message]:
        """What the page has to be told about one record; rate_hz: events that come in meanwhile."""
        if isinstance(record, Drafted):
            return self._on_drafted(record)
        return self._on_cycle(record, rate_hz) if isinstance(record, Cycle) else self._on_caption(record)

    def failed(self, reason: str) -> AnswerDone:
        """The message for an answer that broke off with an error."""
        self.finished = AnswerDone(self.id, self.text, "error", error=reason)
        return self.finished

    def stopped(self) -> AnswerDone:
        """The message for an answer that was given up without a Caption."""
        self.finished = AnswerDone(self.id, self.text, "cancelled")
        return self.finished

    def _on_drafted(self, record: Drafted) -> list[Message]:
        self._drafted_s[record.round] = record.at_s
        if self._first_guess_s is None:
            self._first_guess_s = record.at_s
        return [WordsDrafted(self.id, record.round, drafted_words(self.id, record))]

    def _on_cycle(self, cycle: Cycle, rate_hz: float | None) -> list[Message]:
        accepted = sum(node.verdict == "accepted" for node in cycle.nodes)
        depth = max((node.depth for node in cycle.nodes), default=0)
        self.text += "".join(token.text for token in cycle.emitted)
        self._words += len(cycle.emitted)
        self._checks += 1
        self._accepted += accepted
        self._depth += depth
        before_s, self._last_s = self._last_s or 0.0, max((span.end_s for span in cycle.spans), default=self._last_s)
        if self._first_word_s is None:
            self._first_word_s = self._last_s
        words = judged_words(self.id, cycle, self._drafted_s.get(cycle.round))
        work = [Work(span.lane, span.start_s, span.end_s) for span in cycle.spans]
        if rate_hz is not None and self._last_s is not None:
            work.append(Work("events", before_s, self._last_s, rate_hz))
        return [RoundJudged(self.id, cycle.round, words, work, accepted, depth), self.numbers()]

    def _on_caption(self, caption: Caption) -> list[Message]:
        self._first_guess_s, self._first_word_s = caption.first_draft_s, caption.first_token_s
        self._last_s = caption.total_s
        self.finished = AnswerDone(self.id, self.text, caption.stopped, caption.lossless, caption.rule,
                                   caption.drafter, caption.total_s, caption.cos_adapter)
        return [self.numbers(caption.acceptance_rate), self.finished]

    def numbers(self, acceptance_rate: float | None = None) -> Numbers:
        """Counts so far; the Caption's own acceptance rate wins over the running one."""
        running = self._accepted / self._depth if self._depth else None
        return Numbers(self.id, running if acceptance_rate is None else acceptance_rate,
                       self._words / self._checks if self._words else None,
                       self._words / self._last_s if self._words and self._last_s else None,
                       self._first_guess_s, self._first_word_s, self._words, self._checks,
                       None if self._last_s is None else self.waited_s + self._last_s)
