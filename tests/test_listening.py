"""`bench --listening` compares the same rounds: with records, without, and with a page that listens."""

import pytest
from toy_models import toy_models, toy_window

from app.listening import READ, WAYS, _row, bare
from pipeline.captioner import Captioner
from pipeline.decoding import Limits
from pipeline.types import Cycle

QUESTION = "What is happening?"


@pytest.mark.parametrize("name", ["none", "vlm", "recall"])
def test_an_answer_without_records_has_the_same_tokens(name: str) -> None:
    models = toy_models()
    records = Captioner(models).ask(toy_window(), QUESTION, name, limits=Limits(budget=4))
    said = [token.token for record in records if isinstance(record, Cycle) for token in record.emitted]
    found = bare(models, name, toy_window(), QUESTION, 4)
    assert found[:len(said)] == said
    assert said


def test_costs_are_shares_of_the_way_before() -> None:
    seconds = {way: {0: 1.0 + 0.5 * number, 1: 2.0 + number} for number, way in enumerate(WAYS)}
    row = _row(seconds)
    assert row["traced_cost"] == 0.5
    assert row[f"{READ}_cost"] == pytest.approx(0.25)
    assert row["bare_cpu_s"] == 0.75
