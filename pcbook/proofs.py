r"""The theorems about the 1MLP f(x) = w2·w1·x as sympy objects whose proofs run.

`THEOREMS[name].prove()` checks every step by algebra, by the sign sympy derives from the symbols' assumptions,
or by a limit; no step is tried at sample points. `theorem.flipped(i)` makes step i false on purpose, and its
`prove()` must fail. Precisions Π1, Π2 are general unless said (the paper's are 1), and γ = Π1/Π2.

>>> [step.checked for step in THEOREMS["equilibrium"].prove()]
[True, True]
"""

from collections.abc import Iterator, Sequence
from math import prod

import sympy as sp
from sympy import Abs, Expr, Matrix, Poly, Symbol, diag, diff, exp, eye, hessian, log, oo, sqrt, symbols

from pcbook.theorem import AtMost, Equal, Less, Limit, ProofError, Step, Theorem, collector

__all__ = ["THEOREMS", "ProofError", "Theorem"]

THEOREMS: dict[str, Theorem] = {}

theorem = collector(THEOREMS, "x, y ≠ 0; Π1, Π2 > 0")


# The 1MLP. x, y and the slope m are nonzero (Definition A.1); `v` is w2 where it must not vanish.

w1, w2, z = symbols("w1 w2 z", real=True)
x, y, m = symbols("x y m", real=True, nonzero=True)
v = Symbol("w2", real=True, nonzero=True)
PI1, PI2, gamma, alpha = symbols("Pi1 Pi2 gamma alpha", positive=True)

LOSS = (y - w2 * w1 * x) ** 2 / 2  # Eq. 11
ENERGY = PI1 * (z - w1 * x) ** 2 / 2 + PI2 * (y - w2 * z) ** 2 / 2  # Eq. 12
EQUILIBRIUM = (PI1 * w1 * x + PI2 * w2 * y) / (PI1 + PI2 * w2**2)
EQUILIBRATED_ENERGY = PI2 * LOSS / (1 + PI2 * w2**2 / PI1)  # Eq. 13
UNIT, ORIGIN, ZERO = {PI1: 1, PI2: 1}, {w1: 0, w2: 0}, sp.zeros(2, 1)
FIXED_PI2, FIXED_PI1 = {PI1: gamma * PI2}, {PI2: PI1 / gamma}  # two ways to move γ

r = y - w2 * w1 * x
divisor = 1 + w2**2 / gamma
f_star = EQUILIBRATED_ENERGY.subs(FIXED_PI2)
L, F_STAR, H_L, H_F = r"\mathcal L", r"\mathcal F^*", r"H_{\mathcal L}", r"H_{\mathcal F^*}"


def gradient(f: Expr, variables: Sequence[Expr] = (w1, w2)) -> Matrix:
    return Matrix([diff(f, variable) for variable in variables])


def hessian_at_origin(f: Expr) -> Matrix:
    return hessian(f, (w1, w2)).subs(ORIGIN)


# Energy and equilibrium


@theorem("The free energy is a negative log density", "Eqs. 1 and 12", "Π1, Π2 > 0")
def free_energy() -> Iterator[Step]:
    r"""With $z \mid x \sim \mathcal N(w_1 x, 1/\Pi_1)$ and $y \mid z \sim \mathcal N(w_2 z, 1/\Pi_2)$,
    $\mathcal F = -\ln p(y, z \mid x)$ up to a constant free of $z$ and of the weights."""
    prior = sqrt(PI1 / (2 * sp.pi)) * exp(-PI1 * (z - w1 * x) ** 2 / 2)
    likelihood = sqrt(PI2 / (2 * sp.pi)) * exp(-PI2 * (y - w2 * z) ** 2 / 2)
    constant = log(2 * sp.pi) - log(PI1) / 2 - log(PI2) / 2
    yield Equal("The prior is a density", sp.integrate(prior, (z, -oo, oo)), 1, r"\int p(z \mid x)\,dz")
    yield Equal("So is the likelihood", sp.integrate(likelihood, (y, -oo, oo)), 1, r"\int p(y \mid z)\,dy")
    minus_log = -sp.expand_log(log(prior * likelihood))
    yield Equal("Their product leaves ℱ and a constant", minus_log, ENERGY + constant, r"-\ln p(y, z \mid x)")


@theorem("The equilibrium is the only minimiser", "before Eq. 13", "Π1, Π2 > 0")
def equilibrium() -> Iterator[Step]:
    r"""$z^* = (\Pi_1 w_1 x + \Pi_2 w_2 y)/(\Pi_1 + \Pi_2 w_2^2)$ is the only minimiser of $\mathcal F(z)$."""
    yield Equal("The slope vanishes at z*", diff(ENERGY, z).subs(z, EQUILIBRIUM), 0, r"\mathcal F'(z^*)")
    yield Less("The curvature is positive at every z", 0, diff(ENERGY, z, 2))


@theorem("The equilibrated energy is a rescaled loss", "Eq. 13", "Π1, Π2 > 0")
def equilibrated_energy() -> Iterator[Step]:
    r"""$\mathcal F^* = \mathcal F(z^*) = \Pi_2 \mathcal L / (1 + w_2^2/\gamma)$ with $\gamma = \Pi_1/\Pi_2$."""
    settled, variance = ENERGY.subs(z, EQUILIBRIUM), 1 / PI2 + w2**2 / PI1
    yield Equal("Put z* into ℱ", settled.subs(FIXED_PI2), PI2 * LOSS / divisor, r"\mathcal F(z^*)")
    yield Equal("With unit precisions", settled.subs(UNIT), LOSS / (1 + w2**2), r"\mathcal F(z^*)")
    yield Equal("The divisor is the variance of y given x", EQUILIBRATED_ENERGY, r**2 / (2 * variance), F_STAR)


@theorem("The energy is its own second-order model", "Eqs. 5, 6 and 21 to 23", "Π1, Π2 > 0")
def taylor_identity() -> Iterator[Step]:
    r"""At the feedforward value $z_t = w_1 x$ let $g = \mathcal F'(z_t)$ and $I = \mathcal F''$. Then
    $z^* = z_t - I^{-1} g$ and $\mathcal F^* = \Pi_2 \mathcal L - \tfrac12 g^T I^{-1} g$, exactly."""
    start, g, info = ENERGY.subs(z, w1 * x), diff(ENERGY, z).subs(z, w1 * x), diff(ENERGY, z, 2)
    model = start + g * (z - w1 * x) + info * (z - w1 * x) ** 2 / 2
    slope = diff(PI2 * (y - w2 * z) ** 2 / 2, z).subs(z, w1 * x)
    yield Equal("The energy starts at the loss", start, PI2 * LOSS, r"\mathcal F(z_t)")
    yield Equal("Its slope there is the slope of the loss", g, slope, "g")
    second_order = r"\mathcal F(z_t) + g\Delta z + I\Delta z^2/2"
    yield Equal("There is no third order", ENERGY, model, r"\mathcal F(z)", second_order)
    yield Equal("The Newton step lands on z*", w1 * x - g / info, EQUILIBRIUM, "z_t - I^{-1} g")
    yield Equal("and gains half of gᵀI⁻¹g", EQUILIBRATED_ENERGY, PI2 * LOSS - g**2 / (2 * info), F_STAR)


@theorem("Local learning descends the equilibrated energy", "Eq. 3", "Π1, Π2 > 0")
def envelope() -> Iterator[Step]:
    r"""The weight gradient of $\mathcal F$ at $z^*$, with the activity held fixed, equals $\nabla \mathcal F^*$."""
    local, settled = gradient(ENERGY), gradient(ENERGY).subs(z, EQUILIBRIUM)
    through_z = diff(ENERGY, z).subs(z, EQUILIBRIUM) * gradient(EQUILIBRIUM)
    errors = Matrix([-PI1 * (z - w1 * x) * x, -PI2 * (y - w2 * z) * z])
    yield Equal("It is local: prediction error times input", local, errors, r"\partial_w \mathcal F")
    yield Equal("That z* moves with w costs nothing", through_z, ZERO, r"\mathcal F'(z^*)\nabla z^*")
    yield Equal("So both gradients agree", gradient(EQUILIBRATED_ENERGY), settled, r"\nabla \mathcal F^*")


@theorem("The printed weight update is too long", "Eqs. 7, 24 and 25", "Π1 = Π2 = 1")
def eq7_on_1mlp() -> Iterator[Step]:
    r"""For $w_1$ the gradient at $z^*$ is the "TR direction" of Eq. 7 alone; the printed sum is too large by the
    factor $2 + w_2^2$. The loss gradient at the moved activity, $\partial_{w_1} z_t\,(g + w_2^2\Delta z)$, is exact."""
    energy, moved = ENERGY.subs(UNIT), EQUILIBRIUM.subs(UNIT)
    g, info = diff(energy, z).subs(z, w1 * x), diff(energy, z, 2)
    exact, exact2 = gradient(energy).subs(z, moved)
    curvature, printed = diff(exact2, w2).subs(ORIGIN), diff(LOSS, w2, 2).subs(ORIGIN)
    yield Equal("The TR direction alone is exact", x * g / info, exact, "x I^{-1} g")
    yield Equal("The printed sum is not", x * g / info + x * g, (2 + w2**2) * exact, "x I^{-1} g + x g")
    yield Less("Its factor is never 1", 1, 2 + w2**2)
    yield Equal("The corrected form is exact", x * (g - w2**2 * g / info), exact, r"x(g + w_2^2 \Delta z)")
    yield Equal("For w₂ the curvature at the origin", curvature, -(y**2), r"\partial_{w_2}^2 \mathcal F^*(0)")
    yield Equal("is lost in print", printed, 0, r"\partial_{w_2}^2 \mathcal L(0)")


# The saddle at the origin. Eigenvalues of the Hessians of Π2 ℒ and ℱ* there:

Y = Abs(y) / gamma
S = sqrt(4 * x**2 + Y**2)
LOSS_MIN, LOSS_MAX = -PI2 * Abs(x) * Abs(y), PI2 * Abs(x) * Abs(y)
ENERGY_MIN, ENERGY_MAX = -PI2 * Abs(y) * (Y + S) / 2, PI2 * Abs(y) * (S - Y) / 2
MIN_L, MAX_L = r"\lambda_{\min}(\Pi_2 \mathcal L)", r"\lambda_{\max}(\Pi_2 \mathcal L)"
MIN_F, MAX_F = r"\lambda_{\min}(\mathcal F^*)", r"\lambda_{\max}(\mathcal F^*)"
MAX_GAP = 2 * PI2 * Abs(x) * Abs(y) * Y / (2 * Abs(x) + Y + S)
MIN_GAP = PI2 * Abs(y) * (Y + Y**2 / (S + 2 * Abs(x))) / 2


@theorem("The loss at the origin", "Eq. 14", "x, y ≠ 0")
def loss_hessian_origin() -> Iterator[Step]:
    r"""The origin is a critical point of $\mathcal L$, with zeros on its Hessian's diagonal."""
    yield Equal("The gradient vanishes", gradient(LOSS).subs(ORIGIN), ZERO, r"\nabla \mathcal L(0)")
    yield Equal("The Hessian", hessian_at_origin(LOSS), Matrix([[0, -x * y], [-x * y, 0]]), f"{H_L}(0)")


@theorem("The equilibrated energy at the origin", "Eq. 15")
def energy_hessian_origin() -> Iterator[Step]:
    r"""The origin is a critical point of $\mathcal F^*$. Its Hessian is that of $\Pi_2\mathcal L$ and the further
    entry $-\Pi_2^2 y^2/\Pi_1$ for $w_2$."""
    h, off = hessian_at_origin(EQUILIBRATED_ENERGY), -x * y
    yield Equal("The gradient vanishes", gradient(EQUILIBRATED_ENERGY).subs(ORIGIN), ZERO, r"\nabla \mathcal F^*(0)")
    yield Equal("The Hessian", h, PI2 * Matrix([[0, off], [off, -PI2 * y**2 / PI1]]), f"{H_F}(0)")
    yield Equal("With unit precisions", h.subs(UNIT), Matrix([[0, off], [off, -(y**2)]]), f"{H_F}(0)")


@theorem("The eigenvalues at the origin", "Eq. 16")
def eigenvalues() -> Iterator[Step]:
    r"""$\lambda(\mathcal L) = \pm|xy|$ and $\lambda(\mathcal F^*) = \tfrac12\Pi_2|y|(-Y \pm \sqrt{4x^2 + Y^2})$ with
    $Y = |y|/\gamma$. Both are smaller for $\mathcal F^*$ than for $\Pi_2\mathcal L$, and the escape direction leans
    towards $w_2$: $|e_2/e_1|$ is above 1 for $\mathcal F^*$ and 1 for $\mathcal L$."""
    t, unit, root = Symbol("lambda", real=True), {PI2: 1, gamma: 1}, Abs(y) * sqrt(4 * x**2 + y**2)
    poly_l, poly_f = ((t * eye(2) - hessian_at_origin(f)).det() for f in (PI2 * LOSS, f_star))
    yield Equal("For ℒ", poly_l, (t - LOSS_MIN) * (t - LOSS_MAX), rf"\det(\lambda I - \Pi_2 {H_L}(0))")
    yield Equal("For ℱ*", poly_f, (t - ENERGY_MIN) * (t - ENERGY_MAX), rf"\det(\lambda I - {H_F}(0))")
    yield Equal("With unit precisions", ENERGY_MAX.subs(unit), (-(y**2) + root) / 2, MAX_F)
    yield Equal("With unit precisions", ENERGY_MIN.subs(unit), (-(y**2) - root) / 2, MIN_F)
    yield Less("The larger one is smaller for ℱ*", ENERGY_MAX, LOSS_MAX, MAX_F, MAX_L, since=MAX_GAP)
    yield Less("The smaller one is more negative for ℱ*", ENERGY_MIN, LOSS_MIN, MIN_F, MIN_L, since=MIN_GAP)
    e_l, e_f = Matrix([x * y, Abs(x) * Abs(y)]), Matrix([2 * x * y, Abs(y) * (Y + S)])
    slope = (Y + S) / (2 * Abs(x))
    turned_l, turned_f = PI2 * hessian_at_origin(LOSS) * e_l, hessian_at_origin(f_star) * e_f
    yield Equal("The escape direction of ℒ", turned_l, LOSS_MIN * e_l, rf"\Pi_2 {H_L}(0)\,e", f"{MIN_L} e")
    yield Equal("The escape direction of ℱ*", turned_f, ENERGY_MIN * e_f, rf"{H_F}(0)\,e", f"{MIN_F} e")
    yield Less("leans towards w₂", 1, slope, "1", "|e_2 / e_1|", since=(Y + Y**2 / (S + 2 * Abs(x))) / (2 * Abs(x)))


@theorem("PC escapes the saddle faster", "Theorem A.3", "x, y ≠ 0; Π1, Π2, α > 0; GD on the quadratic model, Eq. 17")
def saddle_escape() -> Iterator[Step]:
    r"""The origin is a strict saddle of both. A step of descent stretches the escape direction of $\mathcal F^*$ by a
    larger factor $1 - \alpha\lambda$ than that of $\Pi_2\mathcal L$, and the factor of the attracting direction is
    larger too. The ratio of the escape rates depends on $q = |y/x|/\gamma$ only and grows with it."""
    q = Symbol("q", positive=True)
    ratio, one = (q + sqrt(q**2 + 4)) / 2, r"1 - \alpha "
    yield Less("Above zero", 0, ENERGY_MAX, "0", MAX_F, since=2 * PI2 * x**2 * Abs(y) / (S + Y))
    yield Less("the order is kept", ENERGY_MAX, LOSS_MAX, MAX_F, MAX_L, since=MAX_GAP)
    yield Less("Below zero", LOSS_MIN, 0, MIN_L)
    yield Less("ℱ* goes lower", ENERGY_MIN, LOSS_MIN, MIN_F, MIN_L, since=MIN_GAP)
    grow_l, grow_f, keep_l, keep_f = (1 - alpha * e for e in (LOSS_MIN, ENERGY_MIN, LOSS_MAX, ENERGY_MAX))
    yield Less("The loss is escaped", 1, grow_l, "1", one + MIN_L)
    yield Less("ℱ* faster, whatever the step size", grow_l, grow_f, one + MIN_L, one + MIN_F, since=alpha * MIN_GAP)
    yield Less("and it attracts less", keep_l, keep_f, one + MAX_L, one + MAX_F, since=alpha * MAX_GAP)
    yield Equal("The ratio of the rates", ENERGY_MIN / LOSS_MIN, ratio.subs(q, Y / Abs(x)), f"{MIN_F} / {MIN_L}")
    yield Less("exceeds 1", 1, ratio, since=(q + q**2 / (sqrt(q**2 + 4) + 2)) / 2)
    yield Less("and grows with q", 0, diff(ratio, q))


# Near a critical point H = Q Λ Qᵀ; k = tan(θ/2) names every rotation Q but the half turn, which gives the same H.

k, l1, l2, a, b = symbols("k lambda1 lambda2 a b", real=True)
Q = Matrix([[1 - k**2, -2 * k], [2 * k, 1 - k**2]]) / (1 + k**2)
H, START = Q * diag(l1, l2) * Q.T, Matrix([a, b])


@theorem("Gradient descent near a critical point", "Eqs. 17 and 18", "H symmetric, two weights; w* = 0")
def gd_near_saddle() -> Iterator[Step]:
    r"""On $\tfrac12 w^T H w$ a step of size $\alpha$ multiplies the component along each eigenvector by
    $1 - \alpha\lambda_i$, so that $w_t = Q (I - \alpha\Lambda)^t Q^T w_0$."""
    t, w, factors = Symbol("t", integer=True, nonnegative=True), Matrix([w1, w2]), (1 - alpha * l1, 1 - alpha * l2)
    step = w - alpha * gradient((w.T * H * w)[0] / 2)
    path = Q * diag(*(factor**t for factor in factors)) * Q.T * START
    yield Equal("One step", Q.T * step, diag(*factors) * Q.T * w, r"Q^T(w - \alpha\nabla)")
    yield Equal("The path starts at w₀", path.subs(t, 0), START, "w_0")
    later = (eye(2) - alpha * H) * path
    yield Equal("and goes on by such steps", path.subs(t, t + 1), later, "w_{t+1}", r"(I - \alpha H) w_t")


@theorem("The flow and its sign", "Eq. 19", "H symmetric, two weights; w* = 0")
def flow() -> Iterator[Step]:
    r"""$w(t) = Q e^{-\Lambda t} Q^T w(0)$ solves $\dot w = -Hw$. The printed $Q e^{\Lambda t} Q^T w(0)$ does not."""
    t, (c, rate) = Symbol("t", real=True), symbols("c lambda1", real=True, nonzero=True)
    path = Q * diag(exp(-l1 * t), exp(-l2 * t)) * Q.T * START
    printed = path.subs(t, -t)
    wrong = diff(printed, t) + H * printed
    along = wrong.subs({a: c * Q[0, 0], b: c * Q[1, 0], l1: rate})
    yield Equal("It starts at w(0)", path.subs(t, 0), START, "w(0)")
    yield Equal("and obeys the equation", diff(path, t), -H * path, r"\dot w", "-Hw")
    yield Equal("The printed form leaves", wrong, 2 * H * printed, r"\dot w + Hw", "2Hw")
    size = 4 * c**2 * rate**2 * exp(2 * rate * t)
    yield Equal("from an eigenvector of length c", along.dot(along), size, r"\|\dot w + Hw\|^2")
    yield Less("which is not zero", 0, size)


# The solutions


@theorem("No critical points but the origin and the solutions", "Footnote 2")
def critical_points() -> Iterator[Step]:
    r"""$\nabla\mathcal L$ and $\nabla\mathcal F^*$ vanish exactly where $r = y - w_2 w_1 x = 0$ or $w = 0$. The
    first are global minima, the second is a strict saddle."""
    swap, rw = Matrix([[0, 1], [1, 0]]), r * Matrix([w1, w2])
    extra = diag(0, PI2 * r / (gamma * divisor**2))
    for name, f, factor in ("ℒ", LOSS, -x * swap), ("ℱ*", f_star, -PI2 * x / divisor * swap - extra):
        yield Equal(f"The gradient of {name} is a matrix times r w", gradient(f), factor * rw)
        yield Less("The matrix is invertible, so r w = 0", factor.det(), 0)
        yield AtMost("Nothing lies below the solutions", 0, f)
        yield Less("At the origin the Hessian is indefinite", hessian_at_origin(f).det(), 0)
    yield Less("The origin is no solution", 0, r.subs(ORIGIN) ** 2)


@theorem("The minima are flatter for PC", "Theorem A.4")
def flat_minima() -> Iterator[Step]:
    r"""On the solutions $w_1 = y/(w_2 x)$, $H_{\mathcal F^*} = \Pi_2 H_{\mathcal L}/(1 + w_2^2/\gamma)$. One eigenvalue
    of each is zero, and the other is strictly smaller for $\mathcal F^*$ than for $\Pi_2\mathcal L$."""
    solution, t = {w1: y / (v * x), w2: v}, Symbol("lambda", real=True)
    h_l, h_f = (hessian(f, (w1, w2)).subs(solution) for f in (LOSS, f_star))
    top_l, d = (v**4 * x**2 + y**2) / v**2, divisor.subs(w2, v)
    top_f, gap = PI2 * top_l / d, PI2 * top_l * v**2 / (gamma + v**2)
    yield Equal("ℒ is critical there", gradient(LOSS).subs(solution), ZERO, r"\nabla \mathcal L")
    yield Equal("and ℱ* too", gradient(f_star).subs(solution), ZERO, r"\nabla \mathcal F^*")
    yield Equal("The Hessians are proportional", h_f, PI2 * h_l / d, H_F)
    yield Equal("One eigenvalue of ℒ is zero", (t * eye(2) - h_l).det(), t * (t - top_l), rf"\det(\lambda I - {H_L})")
    yield Equal("and one of ℱ*", (t * eye(2) - h_f).det(), t * (t - top_f), rf"\det(\lambda I - {H_F})")
    printed = (v**4 * x**2 + y**2) / (v**2 * (1 + v**2))
    yield Equal("With unit precisions", top_f.subs({PI2: 1, gamma: 1}), printed, MAX_F)
    yield Less("The other is smaller for ℱ*", top_f, PI2 * top_l, MAX_F, MAX_L, since=gap)


# The precision ratio


@theorem("γ → ∞ at fixed Π2: PC becomes BP", "Fig. 9", "Π1, Π2 > 0")
def bp_limit() -> Iterator[Step]:
    r"""$\mathcal F^* \to \Pi_2\mathcal L$ with its gradient. At finite $\gamma$ the gap is the share
    $w_2^2/(\gamma + w_2^2)$ of $\Pi_2\mathcal L$."""
    gap, forward = w2**2 / (gamma + w2**2), EQUILIBRIUM.subs(FIXED_PI2)
    yield Limit("The energy", f_star, PI2 * LOSS, F_STAR, to=(gamma, oo))
    yield Limit("Its gradient", gradient(f_star), PI2 * gradient(LOSS), r"\nabla \mathcal F^*", to=(gamma, oo))
    yield Limit("The activity stays at the feedforward value", forward, w1 * x, "z^*", to=(gamma, oo))
    yield Equal("The gap", f_star, (1 - gap) * PI2 * LOSS, F_STAR)
    yield Equal("At w₂ = 1, γ = 2 leaves a third", gap.subs({gamma: 2, w2: 1}), sp.Rational(1, 3), r"\text{gap}")


@theorem("γ → 0 at fixed Π1: PC becomes target propagation", "Fig. 9", "y, w2 ≠ 0; Π1, Π2 > 0")
def tp_limit() -> Iterator[Step]:
    r"""$\mathcal F^* \to \mathcal F_{TP} = \tfrac12\Pi_1 (y/w_2 - w_1 x)^2$ with its gradient, and
    $z^* \to y/w_2$. At finite $\gamma$, $\mathcal F^*/\mathcal F_{TP} = (w_2^2/\gamma)/(1 + w_2^2/\gamma)$."""
    energy, target = EQUILIBRATED_ENERGY.subs(FIXED_PI1), PI1 * (y / w2 - w1 * x) ** 2 / 2
    slope, slope_tp, activity = gradient(energy), gradient(target), EQUILIBRIUM.subs(FIXED_PI1)
    ratio = w2**2 / gamma / (1 + w2**2 / gamma)
    yield Limit("The energy", energy.subs(w2, v), target.subs(w2, v), F_STAR, to=(gamma, 0))
    yield Limit("Its gradient", slope.subs(w2, v), slope_tp.subs(w2, v), r"\nabla \mathcal F^*", to=(gamma, 0))
    yield Limit("The activity inverts the read-out", activity.subs(w2, v), y / v, "z^*", to=(gamma, 0))
    yield Equal("The energy in terms of its limit", energy, target * ratio, F_STAR)
    yield Limit("At w₂ = 0 there is no limit", energy.subs(w2, 0), oo, r"\mathcal F^*", to=(gamma, 0))


# Symmetry, imbalance, noise, batches


@theorem("Sign symmetry", "Sec. A.2", "Π1, Π2 > 0")
def sign_symmetry() -> Iterator[Step]:
    r"""$\mathcal L(-w) = \mathcal L(w)$ and $\mathcal F^*(-w) = \mathcal F^*(w)$; only the hidden activity turns."""
    turned = {w1: -w1, w2: -w2}
    yield Equal("The loss", LOSS.subs(turned), LOSS, r"\mathcal L(-w)")
    yield Equal("The equilibrated energy", EQUILIBRATED_ENERGY.subs(turned), EQUILIBRATED_ENERGY, r"\mathcal F^*(-w)")
    yield Equal("The equilibrium", EQUILIBRIUM.subs(turned), -EQUILIBRIUM, "z^*(-w)")


@theorem("Where the flow moves weight", "gradient flow on ℒ and ℱ*", "Π1, Π2 > 0")
def imbalance() -> Iterator[Step]:
    r"""Gradient flow on $\mathcal L$ conserves $w_2^2 - w_1^2$. On $\mathcal F^*$ it never falls: PC moves weight
    towards the output layer. With the product $w_1 w_2$ it fixes the norm."""
    rate_l, rate_f = (2 * w1 * diff(f, w1) - 2 * w2 * diff(f, w2) for f in (LOSS, f_star))
    growth, left = 2 * PI2 * r**2 * w2**2 / (gamma * divisor**2), r"\tfrac{d}{dt}(w_2^2 - w_1^2)"
    yield Equal("On ℒ nothing moves", rate_l, 0, left)
    yield Equal("On ℱ*", rate_f, growth, left)
    yield AtMost("which is never negative", 0, growth)
    yield Equal("The norm follows", (w1**2 + w2**2) ** 2, (w2**2 - w1**2) ** 2 + 4 * (w1 * w2) ** 2)


@theorem("Prediction error under weight noise", "Fig. 6", "independent noise on each weight, mean 0, variance σ²")
def perturbed_error() -> Iterator[Step]:
    r"""$\mathbb E\,(y - (w_2 + \xi_2)(w_1 + \xi_1)x)^2 = r^2 + x^2(\sigma^2(w_1^2 + w_2^2) + \sigma^4)$, whatever the
    noise's distribution. Among solutions only the norm of the weights matters, not the objective that led there."""
    sigma, (xi1, xi2) = Symbol("sigma", positive=True), symbols("xi1 xi2", real=True)
    squared = Poly((y - (w2 + xi2) * (w1 + xi1) * x) ** 2, xi1, xi2)
    moments, norm = {0: 1, 1: 0, 2: sigma**2}, w1**2 + w2**2
    mean = sum(c * prod(moments[power] for power in powers) for powers, c in squared.terms())
    yield Equal("Monomial by monomial", mean, r**2 + x**2 * (sigma**2 * norm + sigma**4), r"\mathbb E\,(y - \hat y)^2")
    yield AtMost("Balance is best", 2 * Abs(w1) * Abs(w2), norm, since=(Abs(w1) - Abs(w2)) ** 2)


@theorem("A batch only rescales the landscape", "Sec. A.1", "y = m x for every sample; Π1, Π2 > 0")
def batch() -> Iterator[Step]:
    r"""$f(x, mx) = x^2 f(1, m)$ for $f = \mathcal L, \mathcal F^*$, so the mean over a batch is
    $\overline{x^2} f(1, m)$: mini-batches change the learning rate and nothing else."""
    xs = symbols("x1:4", real=True)
    for name, f in (L, LOSS), (F_STAR, EQUILIBRATED_ENERGY):
        unit, mean = f.subs({x: 1, y: m}), sum(f.subs({x: xi, y: m * xi}) for xi in xs) / 3
        yield Equal("One sample", f.subs(y, m * x), x**2 * unit, f"{name}(x, mx)")
        yield Equal("A batch of three", mean, sum(xi**2 for xi in xs) / 3 * unit, rf"\overline{{{name}}}")


# Directions and steps


@theorem("The closest solution", "Eqs. 9 and 10", "m, u ≠ 0; for D itself, w no solution")
def closest_solution() -> Iterator[Step]:
    r"""The distance $D$ from $(w_1, w_2)$ to the solution $(u, m/u)$ is stationary in $u$ exactly at the roots of
    $u^4 - w_1 u^3 + m w_2 u - m^2$, of which at least one is negative and one positive."""
    u = Symbol("u", real=True, nonzero=True)
    squared, quartic = (m / u - w2) ** 2 + (u - w1) ** 2, u**4 - w1 * u**3 + m * w2 * u - m**2
    distance = sqrt(squared)
    yield Equal("The slope of D²", diff(squared, u), 2 * quartic / u**3, r"\partial_u D^2")
    yield Equal("The slope of D", diff(distance, u), quartic / (u**3 * distance), r"\partial_u D")
    yield Equal("The paper's case y = −x", quartic.subs(m, -1), u**4 - u**3 * w1 - u * w2 - 1)
    yield Less("The quartic is negative at u = 0", quartic.subs(u, 0), 0)
    yield Limit("and positive far to the right", quartic, oo, to=(u, oo))
    yield Limit("and to the left", quartic, oo, to=(u, -oo))


g1, g2, d1, d2, c = symbols("g1 g2 Delta1 Delta2 c", real=True)
G, STEP = Matrix([g1, g2]), Matrix([d1, d2])


@theorem("Damped Newton minimises a penalised quadratic", "Eq. 4", "H symmetric; H + I/α positive definite; α > 0")
def damped_newton() -> Iterator[Step]:
    r"""$q(\Delta) = g^T\Delta + \tfrac12\Delta^T H\Delta + \|\Delta\|^2/(2\alpha)$ is least at
    $\Delta^* = -(H + I/\alpha)^{-1} g$. Without the $\tfrac12$, as printed, it would be $-(2H + I/\alpha)^{-1} g$."""
    h, (p, delta) = Matrix([[a, b], [b, c]]), symbols("p delta", positive=True)
    damped = h + eye(2) / alpha
    best, printed = -damped.inv() * G, -(h + damped).inv() * G
    off, bend = STEP - best, (STEP.T * h * STEP)[0] / 2
    model = G.dot(STEP) + bend + STEP.dot(STEP) / (2 * alpha)
    rise = model - model.subs(dict(zip(STEP, best, strict=True)))
    square = r"\tfrac12(\Delta - \Delta^*)^T(H + I/\alpha)(\Delta - \Delta^*)"
    yield Equal("The rise is a square", rise, (off.T * damped * off)[0] / 2, r"q(\Delta) - q(\Delta^*)", square)
    squares, given = p * (d1 + b * d2 / p) ** 2 + delta * d2**2 / p, {p: damped[0, 0], delta: damped.det()}
    form = (STEP.T * damped * STEP)[0]
    yield AtMost(
        "that is never negative (p, δ > 0)", 0, form, "0", r"\Delta^T(H + I/\alpha)\Delta", since=squares, given=given
    )
    slope = gradient(model + bend, STEP)
    at_printed, at_best = (slope.subs(dict(zip(STEP, point, strict=True))) for point in (printed, best))
    yield Equal("The printed model is stationary elsewhere", at_printed, ZERO, r"\nabla q")
    yield Equal("and not at the update", at_best, h * best, r"\nabla q(\Delta^*)", r"H\Delta^*")


@theorem("Gradient descent is a trust-region step", "Eq. 4", "g ≠ 0, two weights; p > 0")
def gd_as_trust_region() -> Iterator[Step]:
    r"""Among all $\Delta$ with $\|\Delta\|^2 \le p$, $g^T\Delta$ is least at $\Delta^* = -\alpha g$ with
    $\alpha = \sqrt p/\|g\|$, and nowhere else."""
    (p, norm), slack = symbols(r"p \|g\|", positive=True), Symbol("s", nonnegative=True)
    given = {norm: sqrt(g1**2 + g2**2), slack: p - d1**2 - d2**2}
    best = -sqrt(p) * G / norm
    off = (d1 - best[0]) ** 2 + (d2 - best[1]) ** 2
    yield Equal("The step fills the region", best.dot(best).subs(given), p, r"\|\Delta^*\|^2")
    yield Equal("Its value", G.dot(best).subs(given), -sqrt(p) * given[norm], r"g^T\Delta^*")
    why = norm * (off + slack) / (2 * sqrt(p))
    least, value, cauchy = -sqrt(p) * norm, G.dot(STEP), G.dot(G) * STEP.dot(STEP) - G.dot(STEP) ** 2
    yield AtMost(
        "No other in the region is as low (s ≥ 0)", least, value, r"g^T\Delta^*", r"g^T\Delta", since=why, given=given
    )
    yield Equal("The reason, by Lagrange", cauchy, (g1 * d2 - g2 * d1) ** 2, r"\|g\|^2\|\Delta\|^2 - (g^T\Delta)^2")
