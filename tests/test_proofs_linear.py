"""The theorems on deep linear networks prove, their negations fail, and they speak of the same thing as the kernel."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
import torch

from pcbook import linear_theory, network, proofs_linear
from pcbook.network import PCN
from pcbook.proofs_linear import LINEAR, PI, W, x, y
from pcbook.theorem import ProofError

STEPS = [(name, i) for name, theorem in LINEAR.items() for i in range(len(theorem.steps))]


@pytest.mark.parametrize("name", LINEAR)
def test_theorem_proves(name):
    theorem = replace(LINEAR[name], steps=[replace(step, checked=False) for step in LINEAR[name].steps])
    assert theorem.name == name and all(step.checked for step in theorem.prove())


@pytest.mark.parametrize(("name", "i"), STEPS)
def test_a_flipped_step_fails(name, i):
    with pytest.raises(ProofError, match=name):
        LINEAR[name].flipped(i).prove()


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_symbols_and_kernel_agree(depth):
    rng = np.random.default_rng(depth)
    w, pi, (a, b) = rng.normal(size=depth), rng.uniform(0.3, 3, depth), rng.normal(size=2)
    values = dict(zip((*W, *PI, x, y), (*w, *[0] * (6 - depth), *pi, *[1] * (6 - depth), a, b), strict=True))
    net = PCN([torch.tensor([[v]]).double() for v in w], precisions=list(pi))
    data = torch.tensor([[a]]).double(), torch.tensor([[b]]).double()
    assert np.isclose(float(proofs_linear.scale(depth).subs(values)), linear_theory.output_scale(net).item())
    z = [float(v.subs(values)) for v in proofs_linear.equilibrium(depth)]
    assert np.allclose(z, [v.item() for v in linear_theory.equilibrium(net, *data)])
    energy = float(
        proofs_linear.energy(depth, sp.symbols("z1:6", real=True)[: depth - 1])
        .subs(values)
        .subs(dict(zip(sp.symbols("z1:6", real=True), z, strict=False)))
    )
    assert np.isclose(energy, network.energy(net, [torch.tensor([[v]]).double() for v in z], *data).item())


def test_the_limits_are_those_of_the_kernel():
    limit = {step.text: step.rhs for step in LINEAR["wide-limits"].steps}
    assert np.isclose(linear_theory.expected_output_scale([5] * 60), float(limit["Default, g = 1/3"]))
    assert np.isclose(linear_theory.expected_output_scale([10**6] * 8, "mupc"), 1, atol=1e-5)
    deep = linear_theory.expected_output_scale([2000] * 4001, "mupc", skips=True)  # ρ = L/n = 2
    assert np.isclose(deep, 1 + 2 * (np.e - 1), rtol=1e-3)
