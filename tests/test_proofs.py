"""The proofs prove, their negations fail, and sympy, numpy and torch agree on what they are about."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
import torch

from pcbook import onemlp, proofs
from pcbook.proofs import (
    ENERGY,
    EQUILIBRATED_ENERGY,
    EQUILIBRIUM,
    LOSS,
    PI1,
    PI2,
    THEOREMS,
    AtMost,
    Equal,
    Less,
    Limit,
    ProofError,
    gamma,
    w1,
    w2,
    x,
    y,
    z,
)

STEPS = [(name, i) for name, theorem in THEOREMS.items() for i in range(len(theorem.steps))]
RNG = np.random.default_rng(0)
POINTS = RNG.uniform(-2, 2, (20, 4))  # w1, w2, x, y
PRECISIONS = RNG.uniform(0.2, 5, (20, 2))
COLUMNS = (*POINTS.T, *PRECISIONS.T)


def fresh(theorem):
    return replace(theorem, steps=[replace(step, checked=False) for step in theorem.steps])


def numbers(rng, expressions):
    """A random value for every free symbol, within its assumptions."""
    free = set().union(*(sp.sympify(expression).free_symbols for expression in expressions))
    return {symbol: draw(rng, symbol) for symbol in sorted(free, key=str)}


def draw(rng, symbol):
    if symbol.is_integer:
        return sp.Integer(3)
    return sp.Float(rng.uniform(0.5, 2) * (1 if symbol.is_nonnegative else rng.choice([-1, 1])))


def size(expression):
    return max(abs(complex(entry)) for entry in sp.Matrix([expression]).evalf())


# Every theorem, every step


def test_the_theorems_asked_for_are_there():
    sources = " ".join(theorem.source for theorem in THEOREMS.values())
    assert all(name in sources for name in ("Theorem A.3", "Theorem A.4", "Footnote 2"))
    asked = {"taylor-identity", "eigenvalues", "saddle-escape", "flat-minima", "bp-limit", "tp-limit"}
    assert asked <= set(THEOREMS)
    assert all(theorem.name == name and len(theorem.steps) > 1 for name, theorem in THEOREMS.items())


@pytest.mark.parametrize("name", THEOREMS)
def test_theorem_proves(name):
    theorem = fresh(THEOREMS[name])
    assert "✓" not in theorem._repr_markdown_()
    steps = theorem.prove()
    assert len(steps) == len(theorem.steps) and all(step.checked for step in steps)
    assert theorem._repr_markdown_().count("✓") == len(steps)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "i"), STEPS)
def test_a_flipped_step_fails(name, i):
    theorem = THEOREMS[name].flipped(i)
    with pytest.raises(ProofError) as error:
        theorem.prove()
    assert str(error.value).startswith(f"{name}, step {i} ({theorem.steps[i].text}): ")
    assert theorem._repr_markdown_().count("✓") == i


@pytest.mark.parametrize(("name", "i"), [at for at in STEPS if isinstance(THEOREMS[at[0]].steps[at[1]], Less)])
def test_a_flipped_inequality_is_refuted_not_merely_undecided(name, i):
    step = THEOREMS[name].steps[i].flipped()
    assert f" is not {step.sign}" in step.remainder()


@pytest.mark.parametrize(("name", "i"), STEPS)
def test_each_claim_holds_in_numbers(name, i):
    """An oracle for the checker itself: evaluate both sides at random values within the assumptions."""
    step, rng = THEOREMS[name].steps[i], np.random.default_rng(i)
    for _ in range(3):
        at = numbers(rng, (step.lhs, step.rhs))
        lhs, rhs = (sp.sympify(side).subs(at) for side in (step.lhs, step.rhs))
        match step:
            case Limit():
                symbol, point = step.to
                near = step.lhs.subs(symbol, {sp.oo: 1e9, -sp.oo: -1e9}.get(point, 1e-9)).subs(at)
                assert size(near) > 1e6 if step.rhs == sp.oo else size(near - rhs) < 1e-6 * (1 + size(rhs))
            case AtMost():  # `given` symbols are bounded by the others: check the claim with the hypothesis in place
                assert sp.N((step.rhs - step.lhs).subs(consistent(rng, step))) >= 0
            case Less():
                assert sp.N(rhs - lhs) > 0
            case Equal():
                assert size(lhs - rhs) < 1e-9 * (1 + size(rhs))


def consistent(rng, step):
    """Random values that satisfy the step's hypotheses: those that name a positive symbol are drawn until true."""
    while True:
        at = numbers(rng, (step.lhs, step.rhs, *step.given.values()))
        hypotheses = {symbol: sp.N(value.subs(at)) for symbol, value in step.given.items()}
        if all(value > 0 for value in hypotheses.values()):
            return at | hypotheses


# The checker accepts nothing it cannot prove

S = sp.symbols("s", real=True)
POSITIVE = sp.symbols("p", positive=True)


@pytest.mark.parametrize(
    ("step", "remains"),
    [
        (Equal("", sp.zoo, 1), "zoo"),
        (Equal("", sp.nan, sp.nan), "nan"),
        (Equal("", sp.Matrix([sp.nan, 0]), sp.Matrix([0, 0])), "nan"),
        (Equal("", sp.Matrix([0, S]), sp.Matrix([0, 0])), "s"),
        (Equal("", sp.sqrt(S**2), S), "Abs"),
        (Less("", 0, S**2), "not known to be positive"),
        (Less("", 0, S), "not known to be positive"),
        (Less("", 0, sp.Integer(0)), "is not positive"),
        (AtMost("", 0, S), "not known to be nonnegative"),
        (Less("", 0, S, since=POSITIVE), "certificate"),
        (AtMost("", 0, S, since=POSITIVE, given={POSITIVE: S + 1}), "certificate"),
        (Limit("", 1 / POSITIVE, 1, to=(POSITIVE, 0)), "oo"),
        (Limit("", POSITIVE, sp.Integer(1), to=(POSITIVE, 0)), "limit is 0"),
    ],
)
def test_unprovable_claims_are_refused(step, remains):
    assert remains in step.remainder()


def test_a_hypothesis_gives_a_sign():
    assert Less("", 1, S).remainder()
    assert Less("", 1, S, since=POSITIVE, given={POSITIVE: S - 1}).remainder() is None


def test_flipping_leaves_the_original_alone():
    theorem = THEOREMS["equilibrium"]
    theorem.flipped(0)
    assert theorem.prove()


def test_formulas_are_shown():
    theorem = THEOREMS["flat-minima"]
    shown = theorem._repr_markdown_()
    assert theorem.title in shown and theorem.assumptions in shown and theorem.statement in shown
    assert all(step.latex() in shown and step.text in shown for step in theorem.steps)
    assert r"\lim_{\gamma \to \infty}" in THEOREMS["bp-limit"].steps[0]._repr_latex_()
    strict = THEOREMS["equilibrium"].steps[1]
    assert " < " in strict.latex() and r" \le " in strict.flipped().latex()


# sympy, numpy, torch


def evaluate(expression, *columns, symbols=(w1, w2, x, y, PI1, PI2)):
    """`expression` at every row of the columns, by substitution of exact numbers."""
    function = sp.lambdify(symbols, expression, "numpy")
    return np.stack([np.squeeze(np.asarray(function(*row), dtype=float)) for row in zip(*columns, strict=True)])


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("expression", "kernel"),
    [
        (EQUILIBRIUM, onemlp.equilibrium),
        (EQUILIBRATED_ENERGY, onemlp.equilibrated_energy),
        (proofs.gradient(EQUILIBRATED_ENERGY), onemlp.equilibrated_energy_gradient),
        (sp.hessian(EQUILIBRATED_ENERGY, (w1, w2)), onemlp.equilibrated_energy_hessian),
        (proofs.gradient(ENERGY).subs(z, EQUILIBRIUM), onemlp.equilibrated_energy_gradient),
    ],
)
def test_the_kernels_with_precisions(expression, kernel):
    close(kernel(*COLUMNS), evaluate(expression, *COLUMNS))


@pytest.mark.parametrize(
    ("expression", "kernel"),
    [
        (LOSS, onemlp.loss),
        (proofs.gradient(LOSS), onemlp.loss_gradient),
        (sp.hessian(LOSS, (w1, w2)), onemlp.loss_hessian),
    ],
)
def test_the_kernels_of_the_loss(expression, kernel):
    close(kernel(*POINTS.T), evaluate(expression, *COLUMNS))


@pytest.mark.parametrize(
    ("expression", "kernel"), [(ENERGY, onemlp.energy), (proofs.gradient(ENERGY), onemlp.energy_gradient)]
)
def test_the_kernels_at_any_activity(expression, kernel):
    activity = RNG.uniform(-2, 2, 20)
    symbols = (z, w1, w2, x, y, PI1, PI2)
    close(kernel(activity, *COLUMNS), evaluate(expression, activity, *COLUMNS, symbols=symbols))


@pytest.mark.parametrize("at", [*zip(*COLUMNS, strict=True), (0.0, 0.0, 1.0, -1.0, 1.0, 1.0)])
def test_autograd_hessians(at):
    w1_, w2_, x_, y_, pi1, pi2 = at

    def loss(w):
        return 0.5 * (y_ - w[1] * w[0] * x_) ** 2

    def energy(w):
        activity = (pi1 * w[0] * x_ + pi2 * w[1] * y_) / (pi1 + pi2 * w[1] ** 2)
        return 0.5 * pi1 * (activity - w[0] * x_) ** 2 + 0.5 * pi2 * (y_ - w[1] * activity) ** 2

    w = torch.tensor([w1_, w2_], dtype=torch.float64)
    for function, symbolic, kernel in (
        (loss, LOSS, onemlp.loss_hessian(w1_, w2_, x_, y_)),
        (energy, EQUILIBRATED_ENERGY, onemlp.equilibrated_energy_hessian(w1_, w2_, x_, y_, pi1, pi2)),
    ):
        automatic = torch.autograd.functional.hessian(function, w).numpy()
        close(kernel, automatic)
        close(evaluate(sp.hessian(symbolic, (w1, w2)), *([value] for value in at))[0], automatic)


def test_saddle_eigenvalues_against_numpy():
    _, _, xs, ys, pi1, pi2 = COLUMNS
    columns, symbols = (xs, ys, pi1 / pi2, pi2), (x, y, gamma, PI2)
    for hessian, names in (
        (pi2[:, None, None] * onemlp.loss_hessian(0, 0, xs, ys), (proofs.LOSS_MIN, proofs.LOSS_MAX)),
        (onemlp.equilibrated_energy_hessian(0, 0, xs, ys, pi1, pi2), (proofs.ENERGY_MIN, proofs.ENERGY_MAX)),
    ):
        symbolic = np.stack([evaluate(name, *columns, symbols=symbols) for name in names], axis=-1)
        close(symbolic, np.linalg.eigvalsh(hessian))


def side(name, text, which="rhs"):
    """One side of the step of a theorem that has this text."""
    return getattr(next(step for step in THEOREMS[name].steps if step.text == text), which)


def test_minimum_curvature_against_numpy():
    _, w2s, xs, ys, pi1, pi2 = COLUMNS
    hessian = onemlp.equilibrated_energy_hessian(ys / (w2s * xs), w2s, xs, ys, pi1, pi2)
    top = side("flat-minima", "The other is smaller for ℱ*", "lhs")
    symbolic = evaluate(top, w2s, xs, ys, pi1 / pi2, pi2, symbols=(proofs.v, x, y, gamma, PI2))
    close(np.linalg.eigvalsh(hessian), np.stack([0 * symbolic, symbolic], axis=-1))


def test_target_propagation_against_the_kernels():
    w1s, w2s, xs, ys, pi1, _ = COLUMNS
    columns, symbols = (w1s, w2s, xs, ys, pi1), (w1, proofs.v, x, y, PI1)
    limit, slope = side("tp-limit", "The energy"), side("tp-limit", "Its gradient")
    close(onemlp.target_propagation_loss(*columns), evaluate(limit, *columns, symbols=symbols))
    close(onemlp.target_propagation_gradient(*columns), evaluate(slope, *columns, symbols=symbols))


def test_perturbed_error_against_the_kernel():
    sigma, formula = PRECISIONS[:, 0], side("perturbed-error", "Monomial by monomial")
    symbols = (w1, w2, x, y, sp.Symbol("sigma", positive=True))
    close(onemlp.perturbed_error(*POINTS.T, sigma), evaluate(formula, *POINTS.T, sigma, symbols=symbols))


def test_closest_solution_is_a_root_of_the_quartic():
    w1s, w2s, slope, _ = POINTS.T
    u = onemlp.closest_solution(w1s, w2s, slope)[:, 0]
    quartic = side("closest-solution", "and to the left", "lhs")
    close(evaluate(quartic, u, w1s, w2s, slope, symbols=(sp.Symbol("u", real=True, nonzero=True), w1, w2, proofs.m)), 0)


def test_rates_near_a_critical_point_against_the_kernels():
    symbols = (proofs.k, proofs.l1, proofs.l2, proofs.a, proofs.b, proofs.alpha)
    at = dict(zip(symbols, (0.3, 1.5, -0.7, 0.2, -0.4, 0.1), strict=True))
    hessian, start = (np.array(matrix.subs(at), dtype=float) for matrix in (proofs.H, proofs.START))
    steps, time = sp.Symbol("t", integer=True, nonnegative=True), sp.Symbol("t", real=True)
    path = side("gd-near-saddle", "and goes on by such steps", "lhs").subs(steps, 4).subs(at)
    close(onemlp.linear_descent(5, hessian, start[:, 0], 0.1)[-1], np.array(path, dtype=float)[:, 0])
    velocity = side("flow", "and obeys the equation").subs(time, 2).subs(at)
    close(-hessian @ onemlp.linear_flow(2.0, hessian, start[:, 0]), np.array(velocity, dtype=float)[:, 0])
