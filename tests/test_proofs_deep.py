"""The theorems on deep networks prove, their negations fail, and their symbols mean what the kernel computes."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
import torch

from pcbook import network, proofs_deep, taylor
from pcbook.proofs_deep import DEEP, Chain
from pcbook.theorem import Less, ProofError

STEPS = [(name, i) for name, theorem in DEEP.items() for i in range(len(theorem.steps))]


@pytest.mark.parametrize("name", DEEP)
def test_theorem_proves(name):
    theorem = replace(DEEP[name], steps=[replace(step, checked=False) for step in DEEP[name].steps])
    assert theorem.name == name and all(step.checked for step in theorem.prove())


@pytest.mark.parametrize(("name", "i"), STEPS)
def test_a_flipped_step_fails(name, i):
    with pytest.raises(ProofError, match=f"^{name}, step {i} "):
        DEEP[name].flipped(i).prove()


@pytest.mark.parametrize(("name", "i"), STEPS)
def test_each_claim_holds_in_numbers(name, i):
    """An oracle for the checker itself. Noncommutative letters become numbers too, which is a weaker check of them."""
    step, rng = DEEP[name].steps[i], np.random.default_rng(i)
    free = set().union(*(sp.sympify(side).free_symbols for side in (step.lhs, step.rhs)))
    at = {symbol: sp.Float(rng.uniform(0.5, 2) * (1 if symbol.is_positive else -1)) for symbol in free}
    lhs, rhs = (np.array(sp.Matrix([sp.sympify(side).subs(at)]), dtype=float) for side in (step.lhs, step.rhs))
    if isinstance(step, Less):
        assert lhs.item() < rhs.item()
    else:
        np.testing.assert_allclose(lhs, rhs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_symbols_and_kernel_agree(n):
    rng, chain = np.random.default_rng(n), Chain(n)
    w, pi, (x, r) = rng.normal(size=n + 1), rng.uniform(0.3, 3, n + 1), rng.normal(size=2)
    net = network.PCN([torch.tensor([[v]]).double() for v in w], "tanh", precisions=list(pi))
    given = torch.tensor([[x]]).double()
    state = network.sweep(net, given)
    target = state.output + r
    values = {proofs_deep.x: x, chain.r: r, **dict(zip((*chain.w, *chain.precisions), (*w, *pi), strict=True))}
    values |= {symbol: z.item() for symbol, z in zip(chain.h[1:], state.inputs[1:], strict=True)}
    values |= {symbol: d.item() for symbol, d in zip(chain.d[:n], state.slopes, strict=True)}
    values[chain.lam] = r / float(chain.variance().subs(values))

    def numbers(expression):
        return np.array(expression.subs(values), dtype=float).squeeze()

    for symbolic, kernel in (
        (chain.slope(), torch.cat(taylor.gradient(net, given, target))),
        (chain.fisher(), taylor.fisher(net, given)),
        (chain.output_fisher(), taylor.output_fisher(net)),
        (chain.step(), torch.cat(taylor.inference_step(net, given, target))),
        (chain.printed(), torch.cat(taylor.printed_gradients(net, given, target))),
        (chain.corrected(), torch.cat(taylor.corrected_gradients(net, given, target))),
    ):
        np.testing.assert_allclose(numbers(symbolic), kernel.squeeze().numpy(), rtol=1e-9, atol=1e-12)
    bends = [-2 * z.item() * d.item() for z, d in zip(state.inputs[1:], state.slopes, strict=True)]  # tanh″ = −2 h h′
    values |= dict(zip(chain.s, bends, strict=False))
    hessian = sp.hessian(chain.energy, chain.c).subs(chain.start).subs(chain.at_w)
    np.testing.assert_allclose(numbers(hessian), taylor.hessian(net, given, target).squeeze().numpy(), rtol=1e-9)
