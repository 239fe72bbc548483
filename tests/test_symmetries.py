"""Symmetry counts against group theory, and what each symmetry does to function and energy."""

from math import factorial, prod

import pytest
import torch

from pcbook import linear_theory, network, symmetries
from pcbook.network import PCN


def make(sizes, activation="tanh", biases=True, precisions=None, seed=0):
    rand = torch.Generator().manual_seed(seed)
    weights = [
        torch.randn(n, m, generator=rand, dtype=torch.float64) for m, n in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    b = [0.5 + torch.rand(n, generator=rand, dtype=torch.float64) for n in sizes[1:]] if biases else None
    x, y = (torch.randn(20, n, generator=rand, dtype=torch.float64) for n in (sizes[0], sizes[-1]))
    return PCN(weights, activation, b, precisions), x, y


def test_signed_permutations_are_a_group_of_the_right_order():
    for n in (1, 2, 3):
        group = list(symmetries.signed_permutations(n))
        keys = {tuple(q.flatten().tolist()) for q in group}
        assert len(keys) == len(group) == factorial(n) * 2**n and torch.equal(group[0], torch.eye(n).double())
        assert all(torch.equal(q @ q.t(), torch.eye(n).double()) for q in group)
        assert {tuple((p @ q).flatten().tolist()) for p in group for q in group} == keys


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [1, 2, 2, 1], [2, 3, 2, 2], [2, 2]])
@pytest.mark.parametrize(
    ("activation", "flips"), [("linear", 2), ("tanh", 2), ("relu", 1), ("softplus", 1), ("gelu", 1)]
)
def test_counts_are_those_of_the_hidden_units(sizes, activation, flips):
    expected = prod(factorial(n) * flips**n for n in sizes[1:-1])
    tried, function, energy = symmetries.count(*make(sizes, activation), generator=0)
    assert (tried, function, energy) == (prod(factorial(n) * 2**n for n in sizes[1:-1]), expected, expected)


def test_unequal_precisions_break_permutations_but_not_flips():
    p = [torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([1.0, 1.0], dtype=torch.float64), 1.0]
    assert symmetries.count(*make([2, 2, 2, 1], precisions=p), generator=0) == (64, 64, 32)


@pytest.mark.parametrize("hidden", [0, 1, 3, 6])
def test_a_chain_has_two_to_the_hidden_units_sign_symmetries(hidden):
    sizes = [1] * (hidden + 2)
    for activation in ("linear", "tanh"):
        net, x, _ = make(sizes, activation, biases=False)
        assert symmetries.sign_patterns(net, x) == 2**hidden
    positive = PCN([w.abs() for w in make(sizes)[0].weights], "relu")
    assert symmetries.sign_patterns(positive, make(sizes)[1]) == 1


def test_an_invertible_map_keeps_the_function_of_a_linear_net_and_an_orthogonal_one_the_energy_too():
    net, x, y = make([2, 3, 3, 2], "linear")
    rand = torch.Generator().manual_seed(1)
    general = [torch.randn(3, 3, generator=rand, dtype=torch.float64) for _ in range(2)]
    for maps, same in ((general, False), ([torch.linalg.qr(m).Q for m in general], True)):
        other = symmetries.transform(net, maps)
        assert torch.allclose(network.forward(other, x)[-1], network.forward(net, x)[-1])
        energies = (linear_theory.equilibrated_energy(n, x, y) for n in (other, net))
        assert torch.allclose(*energies) is same


def test_rescaling_a_relu_unit_keeps_the_function_but_not_the_energy():
    net, x, y = make([2, 2, 1], "relu")
    q = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    other, z = symmetries.transform(net, [q]), [torch.ones(20, 2, dtype=torch.float64)]
    assert torch.allclose(network.forward(other, x)[-1], network.forward(net, x)[-1])
    assert not torch.allclose(network.energy(other, [z[0] @ q], x, y), network.energy(net, z, x, y))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n, x, y: symmetries.transform(n, []), r"maps have shapes \[\]: must be \[\(2, 2\)\]"),
        (lambda n, x, y: symmetries.count(*make([1, 7, 1]), generator=0), "signed permutations: must be at most"),
        (lambda n, x, y: symmetries.sign_patterns(make([5, 5, 1])[0], x), "2.30 patterns: must be at most"),
        (lambda n, x, y: symmetries.count(n, x, y, generator=-1), "generator = -1: must be a whole number"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*make([2, 2, 1]))
