r"""The theorems about deep linear networks, as sympy objects whose proofs run (see `theorem` and `proofs`).

Where a statement is about matrices it is proved for generic ones of a small size; where depth matters, for chains of
single units, either at each of several depths or at every depth at once. Precisions are general unless said.

>>> all(step.checked for step in LINEAR["deep-saddles-are-strict"].prove())
True
"""

from collections.abc import Iterator, Sequence
from math import prod

import sympy as sp
from sympy import Expr, Matrix, diag, diff, hessian, oo, symbols

from pcbook.theorem import AtMost, Equal, Less, Limit, Step, Theorem, collector

__all__ = ["LINEAR"]

LINEAR: dict[str, Theorem] = {}

theorem = collector(LINEAR, "x, y ≠ 0; all precisions > 0")


# A chain of L weights w_1 … w_L and L − 1 hidden units, with precisions Π_1 … Π_L.

x, y = symbols("x y", real=True, nonzero=True)
W = symbols("w1:7", real=True)
PI = symbols("Pi1:7", positive=True)
Z, D = symbols("z1:6", real=True), symbols("d1:6", real=True)
F_STAR, L = r"\mathcal F^*", r"\mathcal L"
DEPTHS = (2, 3, 4, 5)


def residual(depth: int) -> Expr:
    return y - prod(W[:depth]) * x


def scale(depth: int) -> Expr:
    """S = 1/Π_L + Σ_{l<L} J_l²/Π_l with J_l = w_L … w_{l+1}."""
    return 1 / PI[depth - 1] + sum(prod(W[k:depth]) ** 2 / PI[k - 1] for k in range(1, depth))


def energy(depth: int, z: Sequence[Expr]) -> Expr:
    """F of a chain at the hidden activities z_1 … z_{L−1}: Eq. 1 with one unit a layer."""
    below, above = [x, *z], [*z, y]
    return sum(PI[k] * (above[k] - W[k] * below[k]) ** 2 / 2 for k in range(depth))


def equilibrium(depth: int) -> list[Expr]:
    """z_l = w_l z_{l−1} + J_l λ/Π_l with λ = r/S: the feedforward pass with the errors of the theorem."""
    z, force = [x], residual(depth) / scale(depth)
    for k in range(1, depth):
        z.append(W[k - 1] * z[-1] + prod(W[k:depth]) * force / PI[k - 1])
    return z[1:]


@theorem("The equilibrated energy is the loss in another metric", "Eq. 13, for deep linear networks")
def deep_linear_energy() -> Iterator[Step]:
    r"""$\mathcal F^* = \tfrac12 r^T S^{-1} r$ with $S = \Pi_L^{-1} + \sum_{l<L} J_l \Pi_l^{-1} J_l^T$ and
    $J_l = W_L \cdots W_{l+1}$. All errors are $e_l = \Pi_l^{-1} J_l^T S^{-1} r$."""
    pi, top = diag(*PI[:3]), diag(*PI[3:5])
    j, force, d = Matrix(2, 3, symbols("j:6", real=True)), Matrix(symbols("l1 l2", real=True)), Matrix(D[:3])
    r, e = (top.inv() + j * pi.inv() * j.T) * force, pi.inv() * j.T * force

    def free(errors: Matrix) -> Expr:
        return ((errors.T * pi * errors + (r - j * errors).T * top * (r - j * errors)) / 2)[0]

    yield Equal("Any J, with λ = S⁻¹r: this error is left at the output", top * (r - j * e), force, r"\Pi_L (r - Je)")
    yield Equal("so the forces on e balance", pi * e - j.T * top * (r - j * e), sp.zeros(3, 1), r"\nabla_e F")
    yield Equal("and the energy is half of λᵀr", free(e), (r.T * force)[0] / 2, "F(e)", r"\tfrac12 r^T S^{-1} r")
    right = r"\tfrac12 d^T \Pi d + \tfrac12 (Jd)^T \Pi_L Jd"
    squares = ((d.T * pi * d + (j * d).T * top * j * d) / 2)[0]
    yield Equal("Elsewhere squares come on top", free(e + d) - free(e), squares, "F(e + d) - F(e)", right)
    for depth in DEPTHS:
        settled = residual(depth) ** 2 / (2 * scale(depth))
        text = f"A chain of {depth} weights at its equilibrium"
        yield Equal(text, energy(depth, equilibrium(depth)), settled, "F(z^*)", r"\tfrac12 r^2 / S")


def hessian_at_origin(f: Expr, depth: int) -> Matrix:
    return hessian(f, W[:depth]).subs(dict.fromkeys(W, 0))


@theorem("PC sees the origin of a deep chain, BP does not", "Eqs. 14 and 15, for deep linear networks")
def deep_origin_strict() -> Iterator[Step]:
    r"""At the origin of a chain of $L$ weights the Hessian of $\mathcal L$ is zero if $L \ge 3$: no escape direction.
    That of $\mathcal F^*$ has the entry $-\Pi_L^2 y^2/\Pi_{L-1}$ for $w_L$ at any depth: a strict saddle."""
    for depth in DEPTHS:
        loss, top = PI[depth - 1] * residual(depth) ** 2 / 2, PI[depth - 1]
        settled = residual(depth) ** 2 / (2 * scale(depth))
        flat, last = sp.zeros(depth, depth), sp.zeros(depth, depth)
        if depth == 2:
            flat[0, 1] = flat[1, 0] = -top * x * y
        last[-1, -1] = -(top**2) * y**2 / PI[depth - 2]
        yield Equal(f"ℒ with {depth} weights", hessian_at_origin(loss, depth), flat, rf"\nabla^2 {L}(0)")
        yield Equal(
            f"ℱ* with {depth} weights", hessian_at_origin(settled, depth), flat + last, rf"\nabla^2 {F_STAR}(0)"
        )
    yield Less("The entry is negative", last[-1, -1], 0, rf"\partial_{{w_{depth}}}^2 {F_STAR}(0)")


@theorem("All saddles of the equilibrated energy of a chain are strict", "beyond the paper; any number of weights")
def deep_saddles_are_strict() -> Iterator[Step]:
    r"""Let $p = w_{L-1} \cdots w_1$ and $S = 1/\Pi_L + w_L^2 q$; neither $p$ nor $q \ge 1/\Pi_{L-1}$ holds $w_L$.
    A critical point of $\mathcal F^*$ with $r \neq 0$ has $w_L = 0$ and $p = 0$, and there
    $\partial^2 \mathcal F^*/\partial w_L^2 \le -\Pi_L^2 y^2/\Pi_{L-1}$. So every critical point but the minima is a
    strict saddle. The loss of three weights has non-strict ones, and critical points that $\mathcal F^*$ has not."""
    w, p, s, t = symbols("w_L p s t", real=True)
    top, below = symbols(r"Pi_L \Pi_{L-1}", positive=True)
    more = sp.Symbol("q'", nonnegative=True)
    q = 1 / below + more
    settled = (y - w * p * x) ** 2 / (1 / top + w**2 * q) / 2
    slope, curve = diff(settled, w), diff(settled, w, 2)
    # w_1 sits in p alone: p = s w_1, where s is the product of the weights between.
    first = diff(settled.subs(p, s * t), t)
    r, divisor = y - w * s * t * x, 1 / top + w**2 * q
    partial = rf"\partial_{{w_L}} {F_STAR}"
    yield Equal("Moving w₁: r ≠ 0 needs w_L ⋯ w₂ = 0", first, -r * x * w * s / divisor, rf"\partial_{{w_1}} {F_STAR}")
    yield Equal("So w_L p = 0. If p = 0", slope.subs(p, 0), -(y**2) * q * w / divisor**2, partial)
    yield Less("a critical point has w_L = 0", 0, y**2 * q / divisor**2, "0", rf"-({partial})/w_L")
    yield Equal("If w_L = 0, it has p = 0", slope.subs(w, 0), -top * x * y * p, partial)
    flat = curve.subs({w: 0, p: 0})
    yield Equal("There the curvature is", flat, -(top**2) * y**2 * q, rf"\partial_{{w_L}}^2 {F_STAR}")
    yield AtMost(
        "never above the origin's",
        flat,
        -(top**2) * y**2 / below,
        rf"\partial_{{w_L}}^2 {F_STAR}",
        since=top**2 * y**2 * more,
    )
    third = residual(3) ** 2 / 2
    gradient = Matrix([diff(third, v) for v in W[:3]]).subs({W[0]: 0, W[1]: 0})
    yield Equal("The loss is critical at w₁ = w₂ = 0 for any w₃", gradient, sp.zeros(3, 1), rf"\nabla {L}")
    kept = diff(residual(3) ** 2 / (2 * scale(3)), W[2]).subs({W[0]: 0, W[1]: 0})
    exact = -(y**2) * W[2] / PI[1] / (1 / PI[2] + W[2] ** 2 / PI[1]) ** 2
    yield Equal("where ℱ* falls on", kept, exact, rf"\partial_{{w_3}} {F_STAR}")
    yield Equal("and non-strict at the origin", hessian_at_origin(third, 3), sp.zeros(3, 3), rf"\nabla^2 {L}(0)")


@theorem("Which initialisations turn PC into BP", "beyond the paper", "independent zero-mean weights; Π = 1; width n")
def wide_limits() -> Iterator[Step]:
    r"""$\mathbb E[S] = s I$ with $s = 1 + \sum_{l<L} \prod_{k>l} g_k$, where $\mathbb E[W_k W_k^T] = g_k I$. PyTorch's
    default has $s \to 3/2$ however wide the net, orthogonal weights $s = L$, He's $s = 2^L - 1$. With the output scaled
    by $1/n$ (μPC) $s \to 1$ as $n \to \infty$; with skips it is the ratio $\rho = L/n$ that must vanish."""
    v, n, rho = symbols("v n rho", positive=True)
    depth, k = symbols("L k", integer=True, positive=True)
    w, a = Matrix(2, 2, symbols("w11 w12 w21 w22", real=True)), Matrix(1, 2, symbols("a1 a2", real=True))

    def mean(quadratic: Expr) -> Expr:
        """The expectation over independent zero-mean entries w of variance v: squares become v, cross terms 0."""
        entries = sp.Poly(sp.expand(quadratic), *w)
        return sum(c * (v if max(powers) == 2 else 0) for powers, c in entries.terms())

    def series(gain: Expr) -> Expr:
        """Σ_{l=1}^{L−1} gain^{L−1−l}, by its closed form: the sum has L − 1 terms, the last of them 1."""
        return (gain ** (depth - 1) - 1) / (gain - 1)

    step, g = series(v + 1), v + 1
    yield Equal(
        "One layer multiplies by its gain n v",
        mean((a * w * w.T * a.T)[0]),
        2 * v * (a * a.T)[0],
        r"\mathbb E[a W W^T a^T]",
    )
    yield Equal("Layers add up as a series", g * step + 1, step.subs(depth, depth + 1), "g s_L + 1", "s_{L+1}")
    yield Limit("Default, g = 1/3", 1 + series(sp.Rational(1, 3)) / 3, sp.Rational(3, 2), "s", to=(depth, oo))
    yield Equal("He, g = 2", 1 + 2 * series(sp.Integer(2)), 2**depth - 1, "s")
    plain, skipped = 1 + series(1 / depth) / n, 1 + series(1 + 1 / depth) * rho / depth
    yield Limit("μPC's scale, g = 1/L below, 1/n on top", plain, 1, "s", to=(n, oo))
    yield Limit("With skips, g = 1 + 1/L below, at ratio ρ = L/n", skipped, 1 + rho * (sp.E - 1), "s", to=(depth, oo))
    yield Limit("which tends to one only with ρ", 1 + rho * (sp.E - 1), 1, "s", to=(rho, 0))
