"""Laid out weights multiply as plain ones do, follow every change, and leave learning alone."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from pipeline import packed
from pipeline.packed import PackedLinear, in_eight_bits

INPUTS, OUTPUTS = 96, 64


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> PackedLinear:
    monkeypatch.setattr(packed, "SMALLEST", 1)
    monkeypatch.setattr(packed, "BLOCKED", 1)
    torch.manual_seed(0)
    return PackedLinear(INPUTS, OUTPUTS, bias=False).requires_grad_(False)


def product(layer: PackedLinear, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return layer(x)


def same(layer: PackedLinear, x: torch.Tensor) -> None:
    torch.testing.assert_close(product(layer, x), F.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 3), (2, 1), (2, 9), (1, 130)])
@pytest.mark.parametrize("bias", [False, True])
def test_products_are_the_plain_ones(layer: PackedLinear, shape: tuple[int, int], bias: bool) -> None:
    if bias:
        layer.bias = torch.nn.Parameter(torch.randn(OUTPUTS), requires_grad=False)
    same(layer, torch.randn(*shape, INPUTS))
    assert layer._copies is not None
    # what a decoder really hands over: rows cut out of more
    same(layer, torch.randn(*shape, 2 * INPUTS)[..., :INPUTS])


@pytest.mark.parametrize("rows", [1, 5])
def test_changed_weights_are_noticed(layer: PackedLinear, rows: int) -> None:
    x = torch.randn(rows, INPUTS)
    same(layer, x)
    with torch.no_grad():
        layer.weight.mul_(2)
    same(layer, x)
    layer.load_state_dict({"weight": torch.randn(OUTPUTS, INPUTS)})
    same(layer, x)


@pytest.mark.parametrize("rows", [1, 5])
def test_copies_of_a_layer_go_their_own_way(layer: PackedLinear, rows: int) -> None:
    x = torch.randn(rows, INPUTS)
    before = product(layer, x)
    other = deepcopy(layer)
    other.weight.data += 1
    same(other, x)
    assert torch.equal(product(layer, x), before)


def test_learning_goes_through_frozen_and_free_weights(layer: PackedLinear) -> None:
    x = torch.randn(5, INPUTS, requires_grad=True)
    product(layer, x.detach())
    layer(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(5, -1))
    free = PackedLinear(INPUTS, OUTPUTS)
    product(free, x.detach())
    assert free._copies is None


@pytest.mark.parametrize(("smallest", "largest"), [(INPUTS * OUTPUTS + 1, 10**6), (1, INPUTS * OUTPUTS - 1)])
def test_small_and_large_matrices_have_no_copies(layer: PackedLinear, monkeypatch: pytest.MonkeyPatch, smallest: int,
                                                 largest: int) -> None:
    monkeypatch.setattr(packed, "SMALLEST", smallest)
    monkeypatch.setattr(packed, "LARGEST", largest)
    same(layer, torch.randn(5, INPUTS))
    assert layer._copies is None


@pytest.mark.parametrize("bias", [False, True])
def test_in_eight_bits_rows_do_not_influence_each_other(layer: PackedLinear, bias: bool) -> None:
    if bias:
        layer.bias = torch.nn.Parameter(torch.randn(OUTPUTS), requires_grad=False)
    in_eight_bits(layer)
    # one row is large, one is nothing
    x = torch.randn(40, INPUTS) * torch.logspace(-3, 3, 40)[:, None]
    x[7] = 0
    whole = product(layer, x)
    for rows in (1, 2, 8):
        for first in (0, 6, 32):
            assert torch.equal(product(layer, x[first:first + rows]), whole[first:first + rows])
    assert torch.equal(product(layer, x.flip(0)), whole.flip(0))


def test_in_eight_bits_products_are_near_the_plain_ones_and_follow_changes(layer: PackedLinear) -> None:
    in_eight_bits(layer)
    x = torch.randn(3, 5, INPUTS)
    for _ in range(2):
        plain = F.linear(x, layer.weight)
        wrong = (product(layer, x) - plain).abs().max()
        assert 0 < wrong < 0.05 * plain.abs().max()
        with torch.no_grad():
            layer.weight.mul_(3)
