r"""The theorems about the energy of deep networks to second order, as sympy objects whose proofs run (see `theorem`).

What holds for any sizes is proved with matrices that do not commute; where depth and activations matter, for chains
of single units with arbitrary activations, at several depths. Precisions are general.

>>> all(step.checked for step in DEEP["eq7-corrected"].prove())
True
"""

from collections.abc import Iterable, Iterator
from math import prod

import sympy as sp
from sympy import Expr, Matrix, Symbol, diag, diff, eye, hessian, symbols

from pcbook.theorem import AtMost, Equal, Less, Step, Theorem, collector

__all__ = ["DEEP"]

DEEP: dict[str, Theorem] = {}

theorem = collector(DEEP)


x = Symbol("x", real=True, nonzero=True)


def gradient(f: Expr, variables: Iterable[Expr]) -> Matrix:
    return Matrix([diff(f, variable) for variable in variables])


# A chain: z_l = φ_l(w_l z_{l−1}) + e_l for l ≤ n, one unit a layer, and a linear read-out w_{n+1}.
# Of each activation only its value h, slope d and bend s at the feedforward pass count: nothing below differentiates
# more than twice there. A weight v_l can move away from w_l, so that one can differentiate in it.


class Chain:
    """n hidden units: their errors as functions of weights v, displacements c = z − z_t and the residual r = S λ."""

    def __init__(self, n: int, readout_bend: Expr | int = 0) -> None:
        self.n, (self.r, self.lam) = n, symbols("r lambda", real=True)
        self.w, self.v = symbols(f"w1:{n + 2}", real=True), symbols(f"v1:{n + 2}", real=True)
        self.precisions, self.c = symbols(f"Pi1:{n + 2}", positive=True), symbols(f"c1:{n + 1}", real=True)
        self.h, self.d = (x, *symbols(f"h1:{n + 1}", real=True)), (*symbols(f"d1:{n + 1}", real=True), 1)
        self.s = (*symbols(f"s1:{n + 1}", real=True), readout_bend)
        self.start, self.at_w = dict.fromkeys(self.c, 0), dict(zip(self.v, self.w, strict=True))
        self.errors = Matrix([*self.c, self.r]) - Matrix([self.change(l) for l in range(n + 1)])
        self.energy = sum(p * e**2 for p, e in zip(self.precisions, self.errors, strict=True)) / 2
        self.jacobian = self.errors.jacobian(self.c).subs(self.at_w)

    def change(self, l: int) -> Expr:
        """φ(v z) − φ(w z_t) in layer l + 1, to second order."""
        below = self.v[l] * (self.h[l] + (self.c[l - 1] if l else 0)) - self.w[l] * self.h[l]
        return self.d[l] * below + self.s[l] * below**2 / 2

    def gain(self, upper: int, lower: int) -> Expr:
        """∂z/∂z from one layer to another along the feedforward pass; layer n is the output."""
        return prod(self.d[l] * self.w[l] for l in range(lower + 1, upper + 1))

    def weigh(self, jacobian: Matrix) -> Matrix:
        """Jacobianᵀ Π e: the energy's gradient in what the errors were differentiated in."""
        return jacobian.T * diag(*self.precisions) * self.errors.subs(self.at_w)

    def fisher(self) -> Matrix:
        """I = Σ ∂eᵀ Π ∂e at z_t: what is left of −E ∂² ln p."""
        jacobian = self.jacobian.subs(self.start)
        return jacobian.T * diag(*self.precisions) * jacobian

    def output_fisher(self) -> Matrix:
        """H_L: the output depends on the last hidden unit alone."""
        return diag(*[0] * (self.n - 1), self.precisions[-1] * self.w[-1] ** 2)

    def variance(self) -> Expr:
        """S = 1/Π_L + Σ J_l²/Π_l."""
        return sum(self.gain(self.n, l) ** 2 / p for l, p in enumerate(self.precisions))

    def slope(self) -> Matrix:
        """g = ∇_z F at z_t."""
        return self.weigh(self.jacobian).subs(self.start)

    def step(self) -> Matrix:
        """Δz: the errors Π⁻¹ J λ, sent forward."""
        kicks = [self.gain(self.n, l) * self.lam / self.precisions[l] for l in range(self.n)]
        return Matrix([sum(self.gain(l, m) * kicks[m] for m in range(l + 1)) for l in range(self.n)])

    def pulled_back(self, covector: Matrix) -> Matrix:
        """(∂z_t/∂w_k)ᵀ covector for k ≤ n, with r = S λ."""
        paths = [sum(self.gain(l, k) * covector[l] for l in range(k, self.n)) for k in range(self.n)]
        return self.fill(Matrix([self.d[k] * self.h[k] * path for k, path in enumerate(paths)]))

    def corrected(self) -> Matrix:
        """E7′."""
        return self.pulled_back(self.slope() + self.output_fisher() * self.step())

    def printed(self) -> Matrix:
        """Eq. 7."""
        return self.pulled_back(self.slope() - self.step())

    def fill(self, expression: Expr | Matrix) -> Expr | Matrix:
        return expression.subs(self.r, self.variance() * self.lam)

    def moved(self, jacobian: Matrix) -> Matrix:
        """Jacobianᵀ Π e at z_t + Δz, with r = S λ."""
        return self.fill(self.weigh(jacobian).subs(dict(zip(self.c, self.step(), strict=True))))

    def activity_slope(self) -> Matrix:
        return self.moved(self.jacobian)

    def weight_slope(self) -> Matrix:
        """∂F/∂w of all layers, read-out included."""
        return self.moved(self.errors.jacobian(self.v).subs(self.at_w))

    def first_order(self, expression: Expr | Matrix) -> Expr | Matrix:
        """∂/∂λ at λ = 0."""
        return diff(expression, self.lam).subs(self.lam, 0)


one, two, three = Chain(1), Chain(2), Chain(3)
GENERIC = r"chains of 1 to 3 hidden units, any twice differentiable $\phi_l$, linear read-out; $\Pi_l > 0$"
PULLED, LOCAL = r"(\partial_w z_t)^T(g + H_{\mathcal L}\Delta z)", r"\partial_w\mathcal F"


@theorem("The energy of a deep network to second order", "Eqs. 5, 21 and 22", GENERIC)
def taylor_deep() -> Iterator[Step]:
    r"""At the feedforward pass $\mathcal F = \mathcal L$, $\nabla\mathcal F = g$ and $H_{\mathcal F} = \mathcal I$, the
    joint Fisher information, whatever the residual. With one hidden layer the expansion ends there; with two it does
    not. A bent read-out adds a term in the residual. The output's own Fisher information is singular."""
    c, p = three, three.precisions[-1]
    loss, second = c.energy.subs(c.start).subs(c.at_w), hessian(c.energy, c.c).subs(c.start).subs(c.at_w)
    yield Equal("The energy is the loss", loss, p * c.r**2 / 2, r"\mathcal F(z_t)")
    yield Equal("Only the last hidden unit feels the residual", c.slope(), Matrix([0, 0, -p * c.w[-1] * c.r]), "g")
    yield Equal("The Hessian is the Fisher information", second, c.fisher(), r"H_{\mathcal F}(z_t)", r"\mathcal I")
    yield Equal("in which there is no residual", diff(second, c.r), sp.zeros(3), r"\partial_r H_{\mathcal F}(z_t)")
    bent = Chain(2, Symbol("s3", real=True))
    extra = hessian(bent.energy, bent.c).subs(bent.start).subs(bent.at_w) - bent.fisher()
    corner = diag(0, -bent.precisions[-1] * bent.r * bent.s[-1] * bent.w[-1] ** 2)
    yield Equal("A bent read-out brings it in", extra, corner, r"H_{\mathcal F}(z_t) - \mathcal I")
    energy, z1 = one.energy.subs(one.at_w), one.c[0]
    model = energy.subs(z1, 0) + one.slope()[0] * z1 + one.fisher()[0] * z1**2 / 2
    names = r"\mathcal F(z_t + c)", r"\mathcal L + g c + \tfrac12\mathcal I c^2"
    yield Equal("One hidden unit: the model is the energy", energy, model, *names)
    third = diff(two.energy, two.c[0], 2, two.c[1]).subs(two.start).subs(two.at_w)
    bend = -two.precisions[1] * two.s[1] * two.w[1] ** 2
    yield Equal("Two: a third order remains", third, bend, r"\partial_1^2\partial_2\mathcal F(z_t)")
    yield Equal("The output alone tells too little", two.output_fisher().det(), 0, r"\det H_{\mathcal L}")
    whole = prod(two.precisions) * two.variance()
    names = "0", r"\det\mathcal I"
    yield Less("All layers together tell enough", 0, two.fisher().det(), *names, since=sp.expand(whole))


@theorem("The step is found in the output's dimensions", "Eqs. 6 and 23", "P, Q positive definite, of any sizes")
def output_space() -> Iterator[Step]:
    r"""In error coordinates the model has the Hessian $P + J^TQJ$, with $P$ the hidden precisions and $Q = \Pi_L$, and
    the gradient $-J^TQr$. With $S = Q^{-1} + JP^{-1}J^T$ and $\lambda = S^{-1}r$ it is least at
    $\Delta e = P^{-1}J^T\lambda$. There the residual times $Q$ is $\lambda$, and the value $\tfrac12 r^T\lambda$."""
    j, k, p, q = (Symbol(name, commutative=False) for name in ("J", "J^T", "P", "Q"))
    s, c = q**-1 + j * p**-1 * k, three
    push = sp.expand((p + k * q * j) * p**-1 * k)
    yield Equal("Push J through", push, sp.expand(k * q * s), "(P + J^TQJ)P^{-1}J^T", "J^TQS")
    left = sp.expand(q * (s - j * p**-1 * k))
    yield Equal("What the step leaves of r is S⁻¹r", left, 1, "Q(S - JP^{-1}J^T)")
    solved, g = c.fisher() * c.step(), c.fill(c.slope())
    yield Equal("In a chain: sent forward, the step solves Eq. 6", solved, -g, r"\mathcal I\Delta z", "-g")
    least, names = (
        c.precisions[-1] * c.fill(c.r**2) / 2 + g.dot(c.step()) / 2,
        r"\mathcal L - \tfrac12 g^T\mathcal I^{-1}g",
    )
    yield Equal("and the model's least value is", least, c.fill(c.r) * c.lam / 2, names, r"\tfrac12 r\lambda")


@theorem("Where Eq. 24 loses a term", "Eqs. 7, 24 and 25", r"chains of 1 to 3 hidden units, any $\phi_l$; $\Pi_l > 0$")
def eq7_deep() -> Iterator[Step]:
    r"""Differentiated in $z_t$, the model gives $(H_{\mathcal L} - \mathcal I)\Delta z$, which at
    $\Delta z = -\mathcal I^{-1}g$ is $g + H_{\mathcal L}\Delta z$. Eq. 24 prints $-\Delta z - \mathcal I\Delta z$. In a
    chain the printed update of $w_1$ is too long by a factor of at least $1 + \sum_{l \le n} 1/\Pi_l$, at every
    residual."""
    c, at, (y, a, b, k) = two, Matrix(symbols("a1 a2", real=True)), symbols("y a b k", real=True)
    info, curve, away = Matrix([[a, b], [b, k]]), c.output_fisher(), Matrix(c.c) - at
    loss = c.precisions[-1] * (y - c.w[-1] * at[1]) ** 2 / 2
    g, right = gradient(loss, at), r"(H_{\mathcal L} - \mathcal I)\Delta z"
    model = loss + g.dot(away) + away.dot(info * away) / 2
    yield Equal(
        "As the start moves, so does the model", gradient(model, at), (curve - info) * away, r"\nabla_{z_t}", right
    )
    step = -info.inv() * g
    yield Equal("At Eq. 6's step", (curve - info) * step, g + curve * step, right, r"g + H_{\mathcal L}\Delta z")
    names = rf"(-\Delta z - \mathcal I\Delta z) - {right}", r"-(1 + H_{\mathcal L})\Delta z"
    yield Equal("Eq. 24 is off by", -step - info * step - (curve - info) * step, -(eye(2) + curve) * step, *names)
    for c in one, two, three:
        spread = [sum(c.gain(l, m) ** 2 / c.precisions[m] for m in range(l + 1)) for l in range(c.n)]
        beyond = c.precisions[-1] * c.w[-1] ** 2 * spread[-1]
        factors, least = [1 + sum(spread[l:]) + beyond for l in range(c.n)], 1 + sum(1 / p for p in c.precisions[:-1])
        names = r"\text{Eq. 7}", r"\operatorname{diag}(\text{factors})\,\text{E7}'"
        yield Equal(f"The factors, n = {c.n}", c.printed(), diag(*factors) * c.corrected(), *names)
        yield AtMost("That of w₁ is at least", least, factors[0], right=r"\text{factor}_1")
    unit, known = dict.fromkeys(one.precisions, 1), (2 + one.w[1] ** 2) * one.corrected()[0]
    names = r"\text{Eq. 7}", r"(2 + w_2^2)\,\text{E7}'"
    yield Equal("One unit of precision 1", one.printed()[0].subs(unit), known.subs(unit), *names)


@theorem("The corrected weight update", "E7′, for Eqs. 7, 24 and 25", GENERIC)
def eq7_corrected() -> Iterator[Step]:
    r"""$\partial\mathcal F/\partial w_k$ at the equilibrium is
    $(\partial z_t/\partial w_k)^T(g + H_{\mathcal L}\Delta z) + O(r^2)$ with $\Delta z = -\mathcal I^{-1}g$. It is the
    gradient that backpropagation computes from $\lambda = S^{-1}r$ in the place of $\Pi_L r$. For one hidden layer it
    is exact, whatever $\phi$."""
    by_lambda = Matrix([-three.gain(3, l) * three.d[l] * three.h[l] * three.lam for l in range(3)])
    yield Equal("It is backpropagation from λ", three.corrected(), by_lambda, PULLED)
    yield Equal("One hidden unit: the step is exact", one.activity_slope(), sp.zeros(1), r"\nabla_z\mathcal F")
    yield Equal("and so is the update", one.weight_slope()[0], one.corrected()[0], LOCAL, PULLED)
    for c in two, three:
        still, local = c.first_order(c.activity_slope()), c.first_order(c.weight_slope()[: c.n, :])
        text, first = f"n = {c.n}: the step is stationary to first order", r"\partial_\lambda"
        yield Equal(text, still, sp.zeros(c.n, 1), rf"{first}\nabla_z\mathcal F|_0")
        right = c.first_order(c.corrected())
        yield Equal("and the update right to first order", local, right, rf"{first}{LOCAL}|_0", rf"{first}{PULLED}|_0")


@theorem(
    "PC's gradient is the loss gradient of the moved network",
    "Eq. 3",
    r"a chain of 3 hidden units, any $\phi_l$; $\Pi_l > 0$",
)
def implicit_gradient() -> Iterator[Step]:
    r"""Let the activities be at an equilibrium, with errors $e^*$. Then $\partial\mathcal F/\partial w_k$ there, for
    every layer, is the gradient of the loss of the network $z_l = \phi_l(w_l z_{l-1}) + e^*_l$ with its errors held
    fixed. There is no approximation in it: PC's gradient is implicit, or proximal."""
    c, top = three, three.precisions[-1] * three.r
    e = Matrix([c.gain(3, l) * top / c.precisions[l] for l in range(3)] + [c.r])  # h, d, s now hold at the equilibrium
    z = dict(zip(c.h[1:], Matrix(c.h[1:]) + e[:3, :], strict=True))
    weighted = diag(*c.precisions) * e
    still = c.jacobian.subs(c.start).T * weighted
    yield Equal("Errors in balance make an equilibrium", still, sp.zeros(3, 1), r"\nabla_z\mathcal F")
    local = (c.errors.jacobian(c.v).subs(c.start).subs(c.at_w).T * weighted).subs(z, simultaneous=True)
    output = c.change(0)
    for l in range(1, 4):
        output = c.change(l).subs(c.c[l - 1], output)
    by_loss = (-top * gradient(output, c.v).subs(c.at_w)).subs(z, simultaneous=True)
    names = r"\partial_w\mathcal F|_{z^*}", r"\partial_w\mathcal L|_{e^*}"
    yield Equal("Both gradients agree in every layer", local, by_loss, *names)


@theorem("Linear networks: the model is the energy", "Eqs. 5 to 7", r"linear chains of 2 hidden units; $\Pi_l > 0$")
def linear_model_exact() -> Iterator[Step]:
    r"""$\mathcal F$ equals its second-order model, $\mathcal F^* = \mathcal L - \tfrac12 g^T\mathcal I^{-1}g
    = r^2/(2S)$, and $\nabla\mathcal F^*$ is the gradient at the equilibrium. E7′ is exact for $w_1$; for $w_2$ it takes
    the feedforward activity where PC takes the equilibrium's."""
    c, (a1, a2, a3) = two, two.w
    linear = {**dict.fromkeys(c.d[:2], 1), **dict.fromkeys(c.s, 0), c.h[1]: a1 * x, c.h[2]: a2 * a1 * x}
    energy, g, info, away = c.energy.subs(c.at_w).subs(linear), c.slope(), c.fisher().subs(linear), Matrix(c.c)
    loss, s, step = c.precisions[-1] * c.r**2 / 2, c.variance().subs(linear), c.step().subs(linear)
    local, corrected, still = (value.subs(linear) for value in (c.weight_slope(), c.corrected(), c.activity_slope()))
    names = r"\mathcal F(z_t + c)", r"\mathcal L + g^Tc + \tfrac12 c^T\mathcal I c"
    yield Equal("There is no third order", energy, loss + g.dot(away) + away.dot(info * away) / 2, *names)
    yield Equal("The step ends at the equilibrium", still, sp.zeros(2, 1), r"\nabla_z\mathcal F")
    gain = (loss + g.dot(step) / 2).subs(c.r, s * c.lam)
    yield Equal("Loss minus gain", gain, s * c.lam**2 / 2, r"\mathcal L - \tfrac12 g^T\mathcal I^{-1}g", "r^2/(2S)")
    residual = Symbol("y", real=True) - a3 * a2 * a1 * x
    descent, names = gradient(residual**2 / (2 * s), c.w), (r"\nabla\mathcal F^*", LOCAL)
    yield Equal("Its gradient is PC's, in every layer", descent, local.subs(c.lam, residual / s), *names)
    yield Equal("E7′ is exact for w₁", corrected[0], local[0], r"\text{E7}'")
    names = rf"{LOCAL} - \text{{E7}}'", r"-w_3\lambda\Delta z_1"
    yield Equal("and for w₂ but for Δz₁", local[1] - corrected[1], -c.lam * a3 * step[0], *names)
