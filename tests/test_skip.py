"""The verifier drafting for itself: what is left out, when it stops, and that its cache stays what it was."""

import pytest
import torch
from test_decoding import QUESTION, RULES, run
from toy_models import ToyVLM, random_decoder, tokenizer, toy_models, toy_window

from pipeline import drafters
from pipeline.acceptance import Greedy
from pipeline.drafters.none import NoneDrafter
from pipeline.drafters.skip import STEP, Confidence, SkipDrafter, redundant
from pipeline.models import Models
from pipeline.types import Cycle, Draft, Prefix, Rule, Scores, Verdict
from streams.types import InputError

LAYERS = 5


def deep_models() -> Models:
    return Models(ToyVLM(1, layers=LAYERS), None, None, tokenizer())


def started(threshold: str, models: Models) -> tuple[SkipDrafter, Prefix]:
    session = models.rgb.open(toy_window(), QUESTION)
    session.prefill()
    drafter = drafters.create(f"skip:{threshold}", models)
    assert isinstance(drafter, SkipDrafter)
    drafter.start(toy_window(), QUESTION, Greedy(), lambda: session.prefix)
    return drafter, session.prefix


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", ["skip", "skip:0", "skip:0.6", "skip:1"])
def test_the_text_is_the_verifiers_whatever_is_left_out(name: str, rule: Rule) -> None:
    models = deep_models()
    assert run(drafters.create(name, models), rule, models=models)[0] == run(NoneDrafter(), rule, models=models)[0]


def test_cosines_are_those_of_states_before_and_after_attention() -> None:
    decoder, cosines, x = random_decoder(3, layers=3), list[torch.Tensor](), torch.randn(1, 7, 32)
    where, layer = torch.arange(7)[None], decoder.layers[0]
    decoder(x, where, cosines=cosines)
    assert len(cosines) == 3
    projected = layer.project(x, decoder.cos[where][:, None], decoder.sin[where][:, None])
    after = layer.add(x, layer.attend(*projected, None, None, 0))
    torch.testing.assert_close(cosines[0], torch.cosine_similarity(x, after, dim=-1).mean())
    decoder.layers[1].out.weight.zero_()
    again = list[torch.Tensor]()
    decoder(x, where, cosines=again)
    assert float(again[1]) == pytest.approx(1, abs=1e-5)
    assert float(cosines[1]) < 0.999


def test_a_layer_without_attention_is_one_whose_attention_says_nothing() -> None:
    decoder, x, where = random_decoder(3, layers=3), torch.randn(1, 7, 32), torch.arange(7)[None]
    skipped, _ = decoder(x, where, skip={1})
    whole, _ = decoder(x, where)
    decoder.layers[1].out.weight.zero_()
    silent, _ = decoder(x, where)
    torch.testing.assert_close(skipped, silent)
    assert not torch.allclose(skipped, whole)


def test_first_and_last_attention_is_kept() -> None:
    assert redundant([1.0, 0.99, 0.5, 0.985, 1.0], 0.985) == {1, 3}
    assert redundant([1.0, 0.2, 1.0], 0.0) == {1}
    assert redundant([1.0, 1.0], 0.0) == set()
    assert started("0", deep_models())[0].skipped == {1, 2, 3}
    assert started("1", deep_models())[0].skipped == set()


def test_the_threshold_is_compared_with_what_this_prompt_gives() -> None:
    models = deep_models()
    _, prefix = started("1", models)
    assert prefix.cosines is not None
    middle = prefix.cosines[1:-1]
    drafter, _ = started(str(max(middle)), models)
    assert drafter.skipped == {1 + middle.index(max(middle))}


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_with_nothing_left_out_everything_is_accepted(rule: Rule) -> None:
    models = deep_models()
    drafter = drafters.create("skip:1", models)
    _, records = run(drafter, rule, models=models)
    verdicts = {node.verdict for cycle in records if isinstance(cycle, Cycle) for node in cycle.nodes}
    assert verdicts == {"accepted"}
    cosines = [node.cos_sim for cycle in records if isinstance(cycle, Cycle) for node in cycle.nodes]
    assert all(cosine == pytest.approx(1, abs=1e-4) for cosine in cosines)


def test_drafting_leaves_no_trace_in_the_verifiers_cache() -> None:
    models = deep_models()
    touched, clean = (models.rgb.open(toy_window(), QUESTION) for _ in range(2))
    drafter = drafters.create("skip:0", models)
    assert isinstance(drafter, SkipDrafter)
    for session in (touched, clean):
        session.prefill()
    drafter.start(toy_window(), QUESTION, Greedy(), lambda: touched.prefix)
    drafter.confidence.least = 0.0
    for _ in range(4):
        draft = drafter.propose(5)
        assert len(draft) == 5
        results = []
        for session in (touched, clean):
            scores = session.score(draft)
            verdict = Verdict([0], 9, "recovered")
            session.commit(draft, verdict)
            results.append(scores)
        assert torch.equal(results[0].logits, results[1].logits)
        assert torch.equal(results[0].hidden, results[1].hidden)
        drafter.observe(draft, results[0], verdict)


def test_a_failing_choice_leaves_the_cursor_where_it_was() -> None:
    session = deep_models().rgb.open(toy_window(), QUESTION)
    with pytest.raises(RuntimeError, match=r"prefill\(\) first"):
        session.prefix  # noqa: B018
    session.prefill()
    before = session.score(Draft.none()).logits

    def fail(scores: Scores) -> int | None:
        raise KeyError("no word")

    assert session.prefix.ahead is not None
    with pytest.raises(KeyError):
        session.prefix.ahead({1}, fail)
    # reading said it first, a pass of its own says it now: rounding may differ
    torch.testing.assert_close(session.score(Draft.none()).logits, before, atol=1e-5, rtol=1e-5)


def test_a_draft_scored_before_drafting_on_cannot_be_committed() -> None:
    session, draft = deep_models().rgb.open(toy_window(), QUESTION), Draft.chain([7], "t")
    session.prefill()
    session.score(draft)
    assert session.prefix.ahead is not None
    session.prefix.ahead((), lambda scores: None)
    with pytest.raises(ValueError, match="scored last"):
        session.commit(draft, Verdict([], 7, "recovered"))


def test_an_unsure_guess_ends_the_draft() -> None:
    drafter, _ = started("0", deep_models())
    drafter.confidence.least = 0.0
    probs = drafter.propose(6).probs
    assert probs is not None
    assert len(probs) == 6
    for least, count in ((1.0, 1), (min(probs), 6), (sorted(probs)[1], 1 + probs.index(min(probs)))):
        drafter.confidence.least = least
        assert len(drafter.propose(6)) == count


def test_the_confidence_follows_acceptance() -> None:
    strict, loose, uncut = Confidence(), Confidence(), Confidence()
    for _ in range(20):
        strict.learn(0, [0.9, 0.1])
        loose.learn(2, [0.9, 0.1])
        uncut.learn(2, [0.9, 0.95])
    assert strict.least > uncut.least == Confidence().least > loose.least
    for _ in range(2000):
        strict.learn(0, [0.9, 0.1])
        loose.learn(2, [0.9, 0.1])
    assert strict.least == 1.0
    assert loose.least == pytest.approx(0.1, abs=STEP)


@pytest.mark.parametrize("variant", ["mlp", "1.5", "-0.1", "nan"])
def test_what_is_no_threshold_is_refused(variant: str) -> None:
    with pytest.raises(InputError, match=r"from 0 \(nearly all\) to 1 \(none\)"):
        drafters.create(f"skip:{variant}", toy_models())


def test_a_verifier_that_shows_nothing_is_refused() -> None:
    models = deep_models()
    models.rgb.decoder = None
    with pytest.raises(InputError, match="drafter 'skip' needs the states of the verifier"):
        drafters.create("skip", models)
