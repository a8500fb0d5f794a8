"""The laws of speculation: whatever is drafted, the text is the verifier's."""

import random
import threading
from dataclasses import replace

import pytest
import torch
from toy_models import ToyVLM, TreeDrafter, tokenizer, toy_models, toy_window

from pipeline import drafters
from pipeline.acceptance import Cosine, Greedy, Sampling, Typical, rule_for, walk
from pipeline.captioner import Captioner
from pipeline.decoding import Ending, Limits, decode
from pipeline.drafters.mix import MixDrafter
from pipeline.drafters.none import NoneDrafter
from pipeline.models import Models
from pipeline.types import Caption, Cycle, Draft, Drafted, Drafter, Previews, Rule, Scores, Verdict
from streams.types import InputError

QUESTION = "What is happening?"
LIMITS = Limits(max_new_tokens=40, budget=6)
RULES = [Greedy(), Sampling(1.0, seed=3), Sampling(0.4, seed=8, top_k=40, top_p=0.9)]


def run(drafter: Drafter, rule: Rule, limits: Limits = LIMITS, models: Models | None = None) -> tuple[list[int], list]:
    models = models or toy_models()
    records = list(decode(models.rgb.open(toy_window(), QUESTION), drafter, rule, models.tokenizer, toy_window(),
                          QUESTION, limits))
    assert isinstance(records[-1], Ending)
    return records[-1].tokens, records[:-1]


def plain(rule: Rule, limits: Limits = LIMITS) -> list[int]:
    return run(NoneDrafter(), rule, limits)[0]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", [*drafters.every(), "skip:0", "mix:recall+medusa+vlm:tree+eagle3"])
@pytest.mark.parametrize("budget", [1, 5])
def test_every_drafter_writes_the_plain_text(name: str, rule: Rule, budget: int) -> None:
    models = toy_models()
    drafter = drafters.create(name, models)
    wanted = plain(rule)
    for _ in range(2):
        assert run(drafter, rule, replace(LIMITS, budget=budget), models)[0] == wanted


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("right", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("wide", [True, False])
def test_every_tree_shape_writes_the_plain_text(rule: Rule, right: float, wide: bool) -> None:
    wanted = plain(rule)
    for seed in range(6):
        tokens, _ = run(TreeDrafter(wanted, right, seed, wide), rule, replace(LIMITS, budget=8))
        assert tokens == wanted


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_verifier_drafting_for_itself_is_accepted_entirely(rule: Rule) -> None:
    models = toy_models(same=True)
    tokens, records = run(drafters.create("vlm", models), rule, models=models)
    cycles = [r for r in records if isinstance(r, Cycle)]
    assert tokens == plain(rule)
    judged = [node.verdict for cycle in cycles for node in cycle.nodes]
    assert judged
    assert set(judged) == {"accepted"}
    assert len(cycles) <= -(-len(tokens) // (LIMITS.budget + 1)) + 1


def test_a_drafter_that_is_always_wrong_changes_nothing() -> None:
    wanted = plain(Greedy())
    tokens, records = run(TreeDrafter([], right=0.0, seed=1), Greedy())
    cycles = [r for r in records if isinstance(r, Cycle)]
    wrong = [cycle for cycle in cycles if cycle.nodes and all(n.verdict != "accepted" for n in cycle.nodes)]
    assert tokens == wanted
    assert wrong


def test_recall_knows_the_second_answer() -> None:
    models = toy_models()
    drafter = drafters.create("recall", models)
    first, _ = run(drafter, Greedy(), models=models)
    again, records = run(drafter, Greedy(), models=models)
    cycles = [r for r in records if isinstance(r, Cycle)]
    assert again == first
    assert len(cycles) < len(first) / 3


def test_sampling_depends_on_the_seed_only() -> None:
    texts = {tuple(plain(Sampling(1.0, seed=seed))) for seed in range(4)}
    assert len(texts) == 4
    assert plain(Sampling(1.0, seed=2)) == plain(Sampling(1.0, seed=2))


def test_sampling_has_the_right_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    draws = Sampling(0.7, seed=5).choose(logits.expand(20000, 4), list(range(20000)))
    share = torch.bincount(torch.tensor(draws), minlength=4) / 20000
    torch.testing.assert_close(share, (logits / 0.7).softmax(-1), atol=0.012, rtol=0)


class ScriptedSession:
    """A verifier that says a fixed line, whatever is drafted."""

    trees = True

    def __init__(self, line: list[int]) -> None:
        self.line, self.committed = line, []

    def prefill(self) -> None:
        pass

    def score(self, draft: Draft) -> Scores:
        logits = torch.zeros(len(draft) + 1, tokenizer().size)
        for row, depth in enumerate([0, *draft.depths()]):
            at = len(self.committed) + depth
            logits[row, self.line[at] if at < len(self.line) else 9] = 10
        return Scores(logits, torch.zeros(len(draft) + 1, 1, 4))

    def commit(self, draft: Draft, verdict: Verdict) -> None:
        self.committed += [*(draft.tokens[node] for node in verdict.path), verdict.token]

    def extend(self, tokens: list[int]) -> None:
        self.committed += tokens

    def rewind(self, n_committed: int) -> None:
        self.committed = self.committed[:n_committed]


def scripted(line: list[int], drafter: Drafter, limits: Limits) -> tuple[list[int], str, str, list[Cycle]]:
    records = list(decode(ScriptedSession(line), drafter, Greedy(), tokenizer(), toy_window(), QUESTION, limits))
    cycles = [r for r in records if isinstance(r, Cycle)]
    text = "".join(token.text for cycle in cycles for token in cycle.emitted)
    return records[-1].tokens, text, records[-1].stopped, cycles


@pytest.mark.parametrize("budget", [0, 1, 3, 7])
@pytest.mark.parametrize("place", range(6))
def test_eos_ends_the_answer_at_every_place_of_a_block(place: int, budget: int) -> None:
    """D11: the original looked for the end in the last token only."""
    words = tokenizer().encode(" The red car drives slowly to")[:place]
    line = [*words, tokenizer().eos, *tokenizer().encode(" more words here")]
    tokens, text, stopped, cycles = scripted(line, TreeDrafter(line, 1.0, 0, wide=False), Limits(40, budget))
    assert tokens == line[:place + 1]
    assert stopped == "eos"
    assert text == b"".join(tokenizer().bytes_of(t) for t in words).decode().strip()
    after = [node for cycle in cycles for node in cycle.nodes if node.verdict == "accepted"]
    assert len(after) <= place + 1


@pytest.mark.parametrize("budget", [0, 2, 7])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_max_new_tokens_inside_a_block(limit: int, budget: int) -> None:
    """D11: the original wrote more than was allowed."""
    line = tokenizer().encode(" The red car drives slowly to the left on a street")
    tokens, _, stopped, cycles = scripted(line, TreeDrafter(line, 1.0, 1, wide=False), Limits(limit, budget))
    assert tokens == line[:limit]
    assert stopped == "length"
    assert sum(len(cycle.emitted) for cycle in cycles) == limit


@pytest.mark.parametrize("budget", [0, 1, 2, 5])
@pytest.mark.parametrize("stop", ["car", "r dri", "ves slowly", "x", "The"])
def test_stop_strings_across_blocks(stop: str, budget: int) -> None:
    sentence = "The red car drives slowly to the left."
    line = [*tokenizer().encode(" " + sentence), tokenizer().eos]
    _, text, stopped, _ = scripted(line, TreeDrafter(line, 1.0, 2, wide=False), Limits(60, budget, (stop,)))
    found = sentence.find(stop)
    assert text == (sentence[:found] if found >= 0 else sentence)
    assert stopped == ("stop" if found >= 0 else "eos")


@pytest.mark.parametrize("budget", [0, 1, 2, 3, 6])
def test_split_characters_appear_whole(budget: int) -> None:
    sentence = "ein Bär 🐻 läuft – schnell"
    line = [*tokenizer().encode(" " + sentence), tokenizer().eos]
    assert any("�" in tokenizer().piece(token) for token in line)
    _, text, _, cycles = scripted(line, TreeDrafter(line, 1.0, 4, wide=False), Limits(99, budget))
    assert text == sentence
    assert all("�" not in token.text for cycle in cycles for token in cycle.emitted)


def test_verdicts_on_a_tree() -> None:
    logits = torch.zeros(5, 20)
    for row, token in enumerate([3, 7, 1, 9, 1]):
        logits[row, token] = 1
    draft = Draft([3, 7, 4, 8], [-1, 0, 0, -1], ["t"] * 4)
    assert walk(draft, Scores(logits, torch.zeros(5, 1, 1)), Greedy(), 0) == Verdict([0, 1], 1, "bonus")
    logits[1, 5] = 2
    assert walk(draft, Scores(logits, torch.zeros(5, 1, 1)), Greedy(), 0) == Verdict([0], 5, "recovered")
    none = Scores(logits[:1], torch.zeros(1, 1, 1))
    assert walk(Draft.none(), none, Greedy(), 0) == Verdict([], 3, "plain")


def test_cos_sim_is_taken_at_the_input_that_predicts_the_token() -> None:
    models = toy_models(same=True)
    models = Models(models.rgb, models.event, None, models.tokenizer)
    drafter = drafters.create("vlm", models)
    propose = drafter.propose

    def with_own_states(budget: int) -> Draft:
        session = models.rgb.open(toy_window(), QUESTION)
        session.prefill()
        session.extend(list(known))
        draft = propose(budget)
        scores = session.score(draft)
        return replace(draft, hidden=scores.hidden[:len(draft), -1])

    known: list[int] = []
    drafter.propose = with_own_states  # type: ignore[method-assign]
    cosines = []
    for record in decode(models.rgb.open(toy_window(), QUESTION), drafter, Greedy(), models.tokenizer, toy_window(),
                         QUESTION, LIMITS):
        if isinstance(record, Cycle):
            known += [token.token for token in record.emitted]
            cosines += [node.cos_sim for node in record.nodes]
    assert cosines
    assert all(value == pytest.approx(1, abs=1e-4) for value in cosines)


def test_cos_sim_is_given_up_to_the_first_rejected_node() -> None:
    _, records = run(drafters.create("vlm", toy_models()), Greedy())
    nodes = [node for r in records if isinstance(r, Cycle) for node in r.nodes]
    assert {"rejected", "unreached"} <= {node.verdict for node in nodes}
    for node in nodes:
        assert (node.cos_sim is None) == (node.verdict == "unreached")
        assert (node.p_verify is None) == (node.verdict == "unreached")


def test_the_object_of_a_word_is_the_one_of_the_row_that_predicts_it() -> None:
    class Pointing(ScriptedSession):
        def score(self, draft: Draft) -> Scores:
            scores = super().score(draft)
            places = [len(self.committed) + depth for depth in [0, *draft.depths()]]
            return replace(scores, find=lambda: [(place, 0, 1, 1) if place % 2 else None for place in places])

    line = [*tokenizer().encode(" The red car drives slowly to the left"), tokenizer().eos]
    for right in (0.5, 1.0):
        drafter = TreeDrafter(line, right, 3)
        cycles = [r for r in decode(Pointing(line), drafter, Greedy(), tokenizer(), toy_window(), QUESTION, Limits(60))
                  if isinstance(r, Cycle)]
        emitted = [token.box for cycle in cycles for token in cycle.emitted]
        assert emitted == [(float(i), 0, 1, 1) if i % 2 else None for i in range(len(line))]
        done = 0
        for cycle in cycles:
            for node in cycle.nodes:
                place = done + node.depth - 1
                wanted = (float(place), 0, 1, 1) if place % 2 and node.verdict != "unreached" else None
                assert node.box == wanted
            done += len(cycle.emitted)


def test_every_cycle_was_announced_by_its_draft() -> None:
    _, records = run(drafters.create("vlm", toy_models()), Greedy())
    announced: dict[int, Drafted] = {}
    for record in records:
        if isinstance(record, Drafted):
            announced[record.round] = record
            assert all(n.verdict == "pending" for n in record.nodes)
        elif record.nodes:
            draft = announced.pop(record.round)
            assert [(n.token, n.parent) for n in draft.nodes] == [(n.token, n.parent) for n in record.nodes]
    assert not announced


def test_cancel_keeps_what_was_said() -> None:
    cancel, models = threading.Event(), toy_models()
    records = []
    for record in Captioner(models).ask(toy_window(), QUESTION, limits=LIMITS, cancel=cancel):
        records.append(record)
        if sum(isinstance(r, Cycle) for r in records) == 2:
            cancel.set()
    caption = records[-1]
    assert isinstance(caption, Caption)
    assert caption.stopped == "cancelled"
    assert caption.cycles == 2
    assert caption.text == "".join(t.text for r in records if isinstance(r, Cycle) for t in r.emitted)


def test_caption_counts_what_happened() -> None:
    *records, caption = Captioner(toy_models()).ask(toy_window(), QUESTION, limits=LIMITS)
    cycles = [r for r in records if isinstance(r, Cycle)]
    assert caption.text == "".join(token.text for cycle in cycles for token in cycle.emitted)
    assert caption.tokens == sum(len(cycle.emitted) for cycle in cycles)
    assert caption.drafted == sum(len(cycle.nodes) for cycle in cycles)
    assert caption.acceptance_length == caption.tokens / len(cycles)
    assert caption.lossless
    assert 0 <= caption.first_draft_s <= caption.total_s
    line = caption.to_json()
    assert line["type"] == "caption"
    assert line["acceptance_length"] == pytest.approx(caption.acceptance_length, abs=1e-3)


def test_the_event_model_drafts_while_the_verifier_reads() -> None:
    """D9: the original computed the overlap, on a second GPU that it did not have."""
    drafted = threading.Event()

    class SlowVLM(ToyVLM):
        def open(self, window, prompt):  # type: ignore[no-untyped-def]
            session = super().open(window, prompt)
            read = session.prefill

            def wait() -> None:
                assert drafted.wait(30), "no draft came while the verifier was reading"
                read()

            session.prefill = wait  # type: ignore[method-assign]
            return session

    models = toy_models()
    slow = Models(SlowVLM(1), models.event, models.adapter, models.tokenizer)
    records = []
    for record in Captioner(slow).ask(toy_window(), QUESTION, limits=LIMITS):
        records.append(record)
        if len(records) == 2:
            drafted.set()
    first, second = records[:2]
    # the first guess at once, then the draft that begins with it
    assert isinstance(first, Drafted)
    assert isinstance(second, Drafted)
    assert first.round == second.round == 0
    assert first.nodes == second.nodes[:1]
    assert len(second.nodes) > 1


@pytest.mark.parametrize("name", ["vlm", "vlm:tree"])
@pytest.mark.parametrize("rule", [Greedy(), Sampling(temperature=0.8, seed=3)])
def test_the_guess_shown_first_is_the_drafts_likeliest_and_changes_nothing(name: str, rule: Rule) -> None:
    drafts = []
    for previewed in (False, True):
        drafter = drafters.create(name, toy_models())
        assert isinstance(drafter, Previews)
        drafter.start(toy_window(), QUESTION, rule, lambda: pytest.fail("a preview does not wait"))
        shown = drafter.preview() if previewed else None
        drafts.append(drafter.propose(6))
    assert shown is not None
    assert shown.tokens == drafts[1].tokens[:1]
    assert drafts[0].tokens == drafts[1].tokens
    assert drafts[0].parents == drafts[1].parents


@pytest.mark.parametrize(("keywords", "message"), [
    ({"drafter": "nobody"}, f"choose one of {', '.join(drafters.names())}"),
    ({"drafter": "none:L1"}, "has no variants"),
])
def test_bad_drafters_are_refused_with_what_is_allowed(keywords: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        next(Captioner(toy_models()).ask(toy_window(), QUESTION, **keywords))


def test_empty_questions_and_windows_without_frames_are_refused() -> None:
    captioner = Captioner(toy_models())
    with pytest.raises(InputError, match="bytes that are no UTF-8"):
        next(captioner.ask(toy_window(), "caf\udce9?"))
    with pytest.raises(InputError, match="question is empty"):
        next(captioner.ask(toy_window(), "  "))
    with pytest.raises(InputError, match="no frame between"):
        next(captioner.ask(replace(toy_window(), frames=[]), QUESTION))


def test_a_failing_prefill_is_reported_and_ends_the_answer() -> None:
    class Broken(ToyVLM):
        def open(self, window, prompt):  # type: ignore[no-untyped-def]
            session = super().open(window, prompt)

            def fail() -> None:
                raise InputError("the frames cannot be read")

            session.prefill = fail  # type: ignore[method-assign]
            return session

    models = toy_models()
    with pytest.raises(InputError, match="cannot be read"):
        list(Captioner(Models(Broken(1), models.event, None, models.tokenizer)).ask(toy_window(), QUESTION))


def test_rules_by_temperature_and_name() -> None:
    assert rule_for() == rule_for("greedy") == Greedy()
    assert rule_for("", 0.5, 3) == rule_for("sampling", 0.5, 3) == Sampling(0.5, 3)
    assert rule_for("sampling", 0.5, 3, 7, 0.9) == Sampling(0.5, 3, 7, 0.9)
    assert rule_for("typical:0.2") == Typical(0.2)
    assert rule_for("cosine:0.8") == Cosine(0.8)
    assert [rule_for(name).lossless for name in ("greedy", "typical", "cosine")] == [True, False, False]


@pytest.mark.parametrize(("arguments", "message"), [
    (("", -1.0), "temperature -1.0 is not allowed"),
    (("", 1.0, -1), "seed -1 is not allowed"),
    (("", 1.0, 0, -2), "top-k -2 is not allowed"),
    (("", 1.0, 0, 0, 0.0), "top-p 0.0 is not allowed"),
    (("sampling", 0.0), "temperature 0.0 is not allowed"),
    (("greedy", 0.5), "greedy decoding has no temperature, got 0.5"),
    (("nobody",), r"use one of greedy, sampling, typical\[:EPSILON\], cosine\[:THRESHOLD\]"),
    (("greedy:3",), "unknown acceptance rule 'greedy:3'"),
    (("cosine:much",), "cosine:much is not allowed"),
    (("cosine:1.5",), "threshold from -1 up to 1"),
    (("typical", 0.7), "leave the temperature at 0, got 0.7"),
])
def test_bad_rules_are_refused_with_what_is_allowed(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rule_for(*arguments)


def test_nothing_outside_top_k_and_top_p_is_drawn() -> None:
    logits = torch.tensor([3.0, 2.0, 1.0, 0.0]).expand(4000, 4)
    places = list(range(4000))
    assert set(Sampling(1.0, top_k=2).choose(logits, places)) == {0, 1}
    # softmax gives 0.64 and 0.24: the first two are the fewest that make up 0.8
    assert set(Sampling(1.0, top_p=0.8).choose(logits, places)) == {0, 1}
    assert set(Sampling(1.0, top_p=0.5).choose(logits, places)) == {0}
    assert Sampling(1.0, top_k=4).choose(logits, places) == Sampling(1.0).choose(logits, places)


def test_typical_acceptance_depends_on_how_sure_the_verifier_is() -> None:
    sure, unsure = torch.tensor([[9.0, 1.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.9, 0.8, 0.7]])
    for logits, tolerated in ((sure, False), (unsure, True)):
        scores = Scores(torch.cat([logits, logits]), torch.zeros(2, 1, 4))
        verdict = walk(Draft.chain([1], "toy"), scores, Typical(), 0)
        assert verdict.path == ([0] if tolerated else [])


def test_the_cosine_rule_accepts_a_wrong_word_with_a_near_state() -> None:
    logits = torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    scores = Scores(logits, torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    near, far = (Draft.chain([2], "toy", hidden=torch.tensor([state])) for state in ([1.0, 0.1], [0.0, 1.0]))
    assert walk(near, scores, Cosine(0.9), 0).path == [0]
    assert walk(far, scores, Cosine(0.9), 0).path == []
    assert walk(near, scores, Greedy(), 0).path == []
    assert walk(Draft.chain([2], "toy"), scores, Cosine(0.9), 0).path == []
    # the verifier's own word goes before a tolerated one
    both = Draft([2, 1], [-1, -1], ["toy"] * 2, hidden=torch.tensor([[1.0, 0.0]] * 2))
    assert walk(both, Scores(logits[[0, 1, 1]], scores.hidden[[0, 1, 1]]), Cosine(0.9), 0).path == [1]


def test_lossy_answers_say_so() -> None:
    *_, caption = Captioner(toy_models()).ask(toy_window(), QUESTION, rule=Cosine(-1.0), limits=LIMITS)
    assert (caption.rule, caption.lossless) == ("cosine", False)


class Says:
    """Proposes the same draft again and again."""

    parameters = 1
    compared = None

    def __init__(self, name: str, draft: Draft) -> None:
        self.name, self._draft = name, draft

    def start(self, *anything: object) -> None:
        pass

    def propose(self, budget: int) -> Draft:
        return self._draft

    def observe(self, *anything: object) -> None:
        pass

    def finish(self, tokens: list[int]) -> None:
        pass


def test_a_mix_joins_equal_guesses_and_names_all_who_made_them() -> None:
    one = Says("one", Draft([7, 8, 9], [-1, 0, 0], ["one"] * 3, [0.9, 0.6, 0.3], torch.ones(3, 4)))
    two = Says("two", Draft.chain([7, 9], "two"))
    draft = MixDrafter("mix", [one, two]).propose(9)
    assert (draft.tokens, draft.parents) == ([7, 8, 9], [-1, 0, 0])
    assert draft.origin == ["one+two", "one", "one+two"]
    assert draft.hidden is not None
    alone = MixDrafter("mix", [two, Says("three", Draft.chain([5], "three"))]).propose(9)
    assert alone.hidden is None


def test_a_mix_spends_its_budget_on_who_is_right() -> None:
    wrong, right = Says("wrong", Draft.chain([5, 5], "wrong", [0.9, 0.9])), Says("right", Draft.chain([7], "right"))
    mix, scores = MixDrafter("mix", [wrong, right]), Scores(torch.zeros(4, 9), torch.zeros(4, 1, 4))
    assert mix.propose(2).tokens == [5, 5]
    for _ in range(20):
        draft = mix.propose(3)
        mix.observe(draft, scores, Verdict([draft.tokens.index(7)], 1, "bonus"))
    assert mix.propose(1).tokens == [7]


class Knows:
    """A chain that is right at some places of a known line, and says how sure it is, truly or not."""

    parameters, compared, event = 1, None, None

    def __init__(self, name: str, line: list[int], right: set[int], sure: float | None) -> None:
        self.name, self._line, self._right, self._sure, self._at = name, line, right, sure, 0

    def start(self, *anything: object) -> None:
        self._at = 0

    def propose(self, budget: int) -> Draft:
        places = range(self._at, min(len(self._line), self._at + budget))
        return Draft.chain([self._line[place] if place in self._right else 7 for place in places], self.name,
                           None if self._sure is None else [self._sure] * len(places))

    def observe(self, draft: Draft, scores: Scores, verdict: Verdict) -> None:
        self._at += len(verdict.path) + 1

    def finish(self, tokens: list[int]) -> None:
        pass


@pytest.mark.parametrize("budget", [2, 4, 6])
@pytest.mark.parametrize(("shares", "sure"), [((0.9, 0.4), (None, None)), ((0.9, 0.4), (0.2, 0.95)),
                                              ((0.8, 0.7, 0.1), (0.8, 0.7, 0.9)), ((1.0, 0.0), (0.5, 0.99))])
def test_a_mix_emits_as_much_per_check_as_its_best_member(shares: tuple[float, ...], sure: tuple[float | None, ...],
                                                          budget: int) -> None:
    """With the same number of checked nodes; a few rounds show who is right, however sure the others are."""
    rng, line = random.Random(0), [20 + place % 50 for place in range(400)]
    limits = Limits(max_new_tokens=len(line), budget=budget)

    def members() -> list[Knows]:
        return [Knows(f"of-{share}", line, set(place), how)
                for share, how, place in zip(shares, sure, right, strict=True)]

    right = [[place for place in range(len(line)) if rng.random() < share] for share in shares]
    alone = [len(scripted(line, member, limits)[3]) for member in members()]
    mix = MixDrafter("mix", members())
    first, mixed = (scripted(line, mix, limits)[3] for _ in range(2))
    assert len(mixed) <= 1.02 * min(alone)
    assert len(first) <= 1.02 * min(alone) + 6
    assert all(len(cycle.nodes) <= budget for cycle in mixed)


def test_a_mix_of_two_who_know_different_things_is_better_than_both() -> None:
    line = [20 + place % 50 for place in range(400)]
    limits = Limits(max_new_tokens=len(line), budget=6)
    halves = [{place for place in range(len(line)) if (place // 9) % 2 == half} for half in (0, 1)]
    alone = [len(scripted(line, Knows("x", line, half, 0.5), limits)[3]) for half in halves]
    mixed = MixDrafter("mix", [Knows(f"half-{i}", line, half, 0.5) for i, half in enumerate(halves)])
    assert len(scripted(line, mixed, limits)[3]) < 0.8 * min(alone)


@pytest.mark.parametrize("variant", ["vlm", "vlm+vlm", "vlm+mix", "none+recall"])
def test_a_mix_of_one_is_refused(variant: str) -> None:
    with pytest.raises(InputError, match="join two or more drafters"):
        drafters.create(f"mix:{variant}", toy_models())


def test_sampling_with_trees_has_the_exact_distribution_of_the_language_model() -> None:
    """Every text of two words of a language of three, against its exact probability."""
    first, second = torch.tensor([1.0, 0.2, -0.5]), torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0], [2.0, 0.0, -1.0]])
    tree = Draft([0, 1, 2, 0, 1], [-1, -1, 0, 0, 1], ["toy"] * 5)
    rows = torch.cat([first[None], second[torch.tensor(tree.tokens)]])
    trials, counts = 6000, torch.zeros(3, 3)
    for seed in range(trials):
        verdict = walk(tree, Scores(rows, torch.zeros(6, 1, 1)), Sampling(0.8, seed), 0)
        said = [*(tree.tokens[node] for node in verdict.path), verdict.token]
        if len(said) == 1:
            alone = Scores(second[said[0]][None], torch.zeros(1, 1, 1))
            said.append(walk(Draft.none(), alone, Sampling(0.8, seed), 1).token)
        counts[said[0], said[1]] += 1
    exact = (first / 0.8).softmax(-1)[:, None] * (second / 0.8).softmax(-1)
    squares = ((counts - trials * exact) ** 2 / (trials * exact)).sum()
    # chi-square with 8 degrees of freedom exceeds 26 once in a thousand
    assert squares < 26
