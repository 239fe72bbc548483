"""The deep predictive coding network: activities, prediction errors, free energy and gradients. Torch.

Eq. 20's orientation: z_0 = x is the input, z_L is clamped to the target y, and for l = 1 … L

    u_l = W_l z_{l−1} + b_l,    e_l = z_l − φ(u_l) (l < L),    e_L = y − u_L,    F = ½ Σ_l e_lᵀ Π_l e_l.

Batches come first: x is (B, n_0), z_l is (B, n_l), W_l is (n_l, n_{l−1}), b_l is (n_l,). Precisions Π_l are positive
numbers or diagonals (n_l,). Nothing here uses autograd; it is the tests' oracle. Outputs and energies that overflow
raise `ValueError`; gradients are not looked through, and what overflows in them is infinite or NaN.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcbook import checks

LEAK = 0.01


class Activation(NamedTuple):
    """An entry of `ACTIVATIONS`. A slope or bend of None stands for 1 or 0 everywhere."""

    function: Callable[..., Tensor]  # φ(u), into `out` if given
    slope: Callable[[Tensor, Tensor], Tensor | None]  # φ′(u) from u and h = φ(u)
    bend: Callable[[Tensor], Tensor | None]  # φ″(u)
    kinked: bool  # whether φ′ jumps at 0


def _tanh_slope(u: Tensor, h: Tensor) -> Tensor:
    return torch.addcmul(u.new_ones(()), h, h, value=-1)


def _tanh_bend(u: Tensor) -> Tensor:
    h = torch.tanh(u)
    return 2 * h * (h * h - 1)


def _linear(u: Tensor, out: Tensor | None = None) -> Tensor:
    return _into(out, u)


def _relu(u: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.relu(u) if out is None else torch.clamp_min(u, 0.0, out=out)  # autograd's slope at 0 differs


def _leaky_relu(u: Tensor, out: Tensor | None = None) -> Tensor:
    return _into(out, torch.nn.functional.leaky_relu(u, LEAK))


def _softplus(u: Tensor, out: Tensor | None = None) -> Tensor:
    return _into(out, torch.nn.functional.softplus(u, threshold=40.0))


def _gelu(u: Tensor, out: Tensor | None = None) -> Tensor:
    return _into(out, torch.nn.functional.gelu(u))


def _into(out: Tensor | None, value: Tensor) -> Tensor:
    return value if out is None else out.copy_(value)


def _softplus_bend(u: Tensor) -> Tensor:
    h = torch.sigmoid(u)
    return h * (1 - h)


def _gelu_slope(u: Tensor, h: Tensor) -> Tensor:
    return torch.special.ndtr(u) + u * _normal(u)


def _gelu_bend(u: Tensor) -> Tensor:
    return (2 - u * u) * _normal(u)


def _normal(u: Tensor) -> Tensor:
    return torch.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)


ACTIVATIONS = {
    "linear": Activation(_linear, lambda u, h: None, lambda u: None, False),
    "tanh": Activation(torch.tanh, _tanh_slope, _tanh_bend, False),
    "relu": Activation(_relu, lambda u, h: (u > 0).to(u.dtype), lambda u: None, True),
    "leaky_relu": Activation(_leaky_relu, lambda u, h: (u > 0).to(u.dtype) * (1 - LEAK) + LEAK, lambda u: None, True),
    "softplus": Activation(_softplus, lambda u, h: torch.sigmoid(u), _softplus_bend, False),
    "gelu": Activation(_gelu, _gelu_slope, _gelu_bend, False),
}
SCHEMES = ("default", "he", "orthogonal", "mupc", "uniform")
DTYPES = (torch.float32, torch.float64)


class Gradients(NamedTuple):
    """Gradients of all layers; `biases` is None where the network has none."""

    weights: list[Tensor]
    biases: list[Tensor] | None


@dataclass(frozen=True, eq=False)
class PCN:
    """A predictive coding network: weights W_1 … W_L, an activation, and optionally biases and precisions.

    `weights` are float32 or float64 matrices (n_l, n_{l−1}) on one device; `biases` vectors (n_l,) or None;
    `precisions` one positive number or vector (n_l,) a layer, 1 unless given. The output layer is linear. The tensors
    are kept, not copied: an update in place trains the network. Raises `ValueError` for anything else.
    """

    weights: list[Tensor]
    activation: str = "linear"
    biases: list[Tensor] | None = None
    precisions: list[Tensor] | None = None

    def __post_init__(self) -> None:
        checks.choice("activation", self.activation, ACTIVATIONS)
        weights = _list("weights", self.weights)
        if not weights:
            raise ValueError("weights = []: must hold at least one matrix")
        for i, w in enumerate(weights):
            _like(f"weights[{i}]", w, weights[0])
            if w.ndim != 2 or 0 in w.shape:
                raise ValueError(f"weights[{i}] has shape {tuple(w.shape)}: must be (n_{i + 1}, n_{i}), none of them 0")
            if i and w.shape[1] != weights[i - 1].shape[0]:
                shapes = f"{tuple(weights[i - 1].shape)} and {tuple(w.shape)}"
                raise ValueError(f"weights[{i - 1}] and weights[{i}] have shapes {shapes}: they do not chain")
            _finite(f"weights[{i}]", w)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "biases", self._vectors("biases", self.biases))
        object.__setattr__(self, "precisions", self._vectors("precisions", self.precisions))

    def _vectors(self, name: str, values: Iterable[Any] | None) -> list[Tensor] | None:
        """One vector (n_l,) a layer; precisions may be given as numbers, and must be > 0."""
        if values is None:
            return None
        values = _list(name, values)
        if len(values) != len(self.weights):
            raise ValueError(f"{name} holds {len(values)} entries: must be one for each of {len(self.weights)} layers")
        if name == "precisions":
            values = [
                _precision(f"{name}[{i}]", *pair) for i, pair in enumerate(zip(values, self.weights, strict=True))
            ]
        for i, (v, w) in enumerate(zip(values, self.weights, strict=True)):
            _like(f"{name}[{i}]", v, w)
            if v.shape != w.shape[:1]:
                raise ValueError(f"{name}[{i}] has shape {tuple(v.shape)}: must be ({w.shape[0]},)")
            _finite(f"{name}[{i}]", v)
        return values

    @property
    def sizes(self) -> list[int]:
        """[n_0, …, n_L]."""
        return [self.weights[0].shape[1], *(w.shape[0] for w in self.weights)]

    @property
    def dtype(self) -> torch.dtype:
        return self.weights[0].dtype

    @property
    def device(self) -> torch.device:
        return self.weights[0].device

    def to(self, *args: Any, **kwargs: Any) -> "PCN":
        """The same network with its tensors moved or cast, as `torch.Tensor.to` does it."""
        lists = (self.weights, self.biases, self.precisions)
        weights, biases, precisions = (values and [v.to(*args, **kwargs) for v in values] for values in lists)
        return PCN(weights or [], self.activation, biases, precisions)


def top(net: PCN, first: int) -> PCN:
    """The network above `first` hidden layers. Its parts are the network's own, and not checked again."""
    result = object.__new__(PCN)
    parts = {name: getattr(net, name) and getattr(net, name)[first:] for name in ("weights", "biases", "precisions")}
    for name, value in {**parts, "activation": net.activation}.items():
        object.__setattr__(result, name, value)
    return result


def init_weights(
    sizes: Iterable[int],
    generator: torch.Generator | int,
    scheme: str = "default",
    interval: tuple[float, float] = (-1.0, 1.0),
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Weights for layers of `sizes` [n_0, …, n_L]: a list of L matrices (n_l, n_{l−1}) on the generator's device.

    `generator` is a `torch.Generator` or an integer seed. Schemes: "default" U(±1/√n_{l−1}) (PyTorch's `Linear`);
    "he" N(0, 2/n_{l−1}); "orthogonal" (orthonormal rows or columns); "mupc" N(0, a_l²) with a_1 = 1/√n_0,
    a_l = 1/√(n_{l−1} L) in between and a_L = 1/n_{L−1} (the scaling of μPC, Innocenti et al. 2025);
    "uniform" U(interval). Draws are float64 whatever the dtype, so both precisions start from one network.
    """
    checks.choice("scheme", scheme, SCHEMES)
    sizes = [checks.count(f"sizes[{i}]", n) for i, n in enumerate(_list("sizes", sizes))]
    if len(sizes) < 2 or 0 in sizes:
        raise ValueError(f"sizes = {sizes}: must hold at least two layers, none of them empty")
    ends = checks.pairs("interval", interval)
    if ends.ndim > 1 or ends[0] > ends[1]:
        raise ValueError(f"interval = {interval!r}: must be a pair that runs from low to high")
    if dtype not in DTYPES:
        raise ValueError(f"dtype = {dtype!r}: must be torch.float32 or torch.float64")
    (low, high), generator = ends.tolist(), _generator(generator)
    depth = len(sizes) - 1

    def draw(l: int, n_in: int, n_out: int) -> Tensor:
        def rand(kind: Callable[..., Tensor]) -> Tensor:
            return kind(n_out, n_in, generator=generator, device=generator.device, dtype=torch.float64)

        if scheme == "default":
            return (2 * rand(torch.rand) - 1) / math.sqrt(n_in)
        if scheme == "uniform":
            return low + (high - low) * rand(torch.rand)
        if scheme == "he":
            return rand(torch.randn) * math.sqrt(2 / n_in)
        if scheme == "orthogonal":
            return _orthonormal(rand(torch.randn))
        return rand(torch.randn) * (
            1 / math.sqrt(n_in) if l == 1 else 1 / n_in if l == depth else (n_in * depth) ** -0.5
        )

    return [draw(l, *pair).to(dtype) for l, pair in enumerate(zip(sizes[:-1], sizes[1:], strict=True), 1)]


def init_biases(
    sizes: Iterable[int], generator: torch.Generator | int, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Biases as PyTorch's `Linear` draws them, U(±1/√n_{l−1}): a list of L vectors (n_l,)."""
    return [w[:, 0].clone() for w in init_weights(sizes, generator, dtype=dtype)]


def forward(net: PCN, x: Tensor) -> list[Tensor]:
    """The feedforward pass [z_1, …, z_L], each (B, n_l): no errors but the last layer's. z_L is the output."""
    state = sweep(net, inputs(net, x))
    return [*state.inputs[1:], in_range("the feedforward pass", state.output)]


def loss(net: PCN, x: Tensor, y: Tensor) -> Tensor:
    """L = ½ rᵀΠ_L r with r = y − output, one float64 number a sample, (B,): the energy of the feedforward pass."""
    return energy(net, forward(net, x)[:-1], x, y)


def prediction_errors(net: PCN, activities: Iterable[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
    """[e_1, …, e_L]: what each layer differs from its prediction by. `activities` are [z_1, …, z_{L−1}]."""
    return local(net, *_checked(net, activities, x, y))[0]


def energy(net: PCN, activities: Iterable[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """F = ½ Σ_l e_lᵀ Π_l e_l (Eqs. 1 and 20), one number a sample, (B,), summed in float64."""
    return in_range("the energy", quadratic(net, prediction_errors(net, activities, x, y)))


def activity_gradients(net: PCN, activities: Iterable[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
    """[∂F/∂z_1, …, ∂F/∂z_{L−1}] of each sample (Eq. 2): Π_l e_l − W_{l+1}ᵀ (φ′(u_{l+1}) ⊙ Π_{l+1} e_{l+1})."""
    errors, slopes, _ = local(net, *_checked(net, activities, x, y))
    return descent(net, weigh(net, errors), slopes)


def gradients(net: PCN, activities: Iterable[Tensor], x: Tensor, y: Tensor) -> Gradients:
    """∂F/∂W_l and ∂F/∂b_l (Eq. 3), averaged over the batch, from quantities at hand in layer l alone."""
    errors, slopes, below = local(net, *_checked(net, activities, x, y))
    return local_gradients(net, weigh(net, errors), slopes, below)


def weight_gradients(net: PCN, activities: Iterable[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
    """The weights' part of `gradients`: a list of L matrices like the weights."""
    return gradients(net, activities, x, y).weights


def backprop(net: PCN, x: Tensor, y: Tensor) -> Gradients:
    """∂L/∂W_l and ∂L/∂b_l averaged over the batch, by backpropagation: one sweep up, one sweep down."""
    state = sweep(net, inputs(net, x))
    top = weigh_layer(net, -1, targets(net, y, x) - state.output)
    return outer_products(net, backward(net, state.slopes, top * (-1.0 / len(x))).deltas, state.inputs)


def backprop_gradients(net: PCN, x: Tensor, y: Tensor) -> list[Tensor]:
    """The weights' part of `backprop`: a list of L matrices like the weights."""
    return backprop(net, x, y).weights


# The sweeps that everything above, and inference, is made of. They trust their arguments.


class Sweep(NamedTuple):
    """A pass upwards."""

    inputs: list[Tensor]  # z_0 … z_{L−1}
    preactivations: list[Tensor]  # u_l, l < L
    slopes: list[Tensor | None]  # φ′(u_l), l < L
    output: Tensor  # u_L


class Backward(NamedTuple):
    """A pass downwards."""

    mu: list[Tensor]  # μ_1 … μ_{L−1}
    deltas: list[Tensor]  # δ_1 … δ_L


def sweep(net: PCN, x: Tensor, errors: Sequence[Tensor] | None = None) -> Sweep:
    """One pass upwards with z_l = φ(u_l) + e_l. `errors` [e_1, …, e_{L−1}] are zero unless given."""
    function, slope, *_ = ACTIVATIONS[net.activation]
    z, u, slopes = [x], [], []
    for l in range(len(net.weights) - 1):
        u.append(preactivation(net, l, z[-1]))
        h = function(u[-1])
        slopes.append(slope(u[-1], h))
        z.append(h if errors is None else h + errors[l])
    return Sweep(z, u, slopes, preactivation(net, -1, z[-1]))


def slopes(net: PCN, below: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
    """(u_l, φ′(u_l)) for l < L at given z_0 … z_{L−1}."""
    function, slope, *_ = ACTIVATIONS[net.activation]
    u = [preactivation(net, l, z) for l, z in enumerate(below[:-1])]
    return u, [slope(v, function(v)) for v in u]


def backward(net: PCN, slopes: Sequence[Tensor | None], top: Tensor) -> Backward:
    """One pass downwards from μ_L = `top` (…, n_L): δ_l = φ′(u_l) ⊙ μ_l and μ_{l−1} = W_lᵀ δ_l, δ_L = μ_L."""
    mu, deltas = [], [top]
    for w, d in zip(reversed(net.weights[1:]), reversed(slopes), strict=True):
        mu.append(deltas[-1] @ w)
        deltas.append(times(mu[-1], d))
    return Backward(mu[::-1], deltas[::-1])


def adjoint(net: PCN, slopes: Sequence[Tensor | None], top: Tensor) -> list[Tensor]:
    """[μ_1, …, μ_{L−1}] of `backward`: Π_l e_l at the equilibrium whose weighted output error is `top`."""
    return backward(net, slopes, top).mu


def local(
    net: PCN, activities: Sequence[Tensor], x: Tensor, y: Tensor
) -> tuple[list[Tensor], list[Tensor | None], list[Tensor]]:
    """[e_1 … e_L], φ′(u_l) for l < L and [z_0 … z_{L−1}] at given activities, every layer by itself."""
    function, slope, *_ = ACTIVATIONS[net.activation]
    below = [x, *activities]
    u = [preactivation(net, l, z) for l, z in enumerate(below)]
    h = [function(v) for v in u[:-1]]
    slopes = [slope(*pair) for pair in zip(u[:-1], h, strict=True)]
    return [z - p for z, p in zip([*below[1:], y], [*h, u[-1]], strict=True)], slopes, below


def descent(net: PCN, mu: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> list[Tensor]:
    """∂F/∂z_l = μ_l − W_{l+1}ᵀ (φ′(u_{l+1}) ⊙ μ_{l+1}) from weighted errors μ_l = Π_l e_l, l = 1 … L."""
    above = zip(mu[1:], [*slopes, None][1:], net.weights[1:], strict=True)
    return [m - times(top, d) @ w for m, (top, d, w) in zip(mu[:-1], above, strict=True)]


def local_gradients(
    net: PCN, mu: Sequence[Tensor], slopes: Sequence[Tensor | None], below: Sequence[Tensor]
) -> Gradients:
    """−(φ′(u_l) ⊙ μ_l)ᵀ z_{l−1} / B and −Σ φ′(u_l) ⊙ μ_l / B from weighted errors μ_l = Π_l e_l, l = 1 … L."""
    scale = -1.0 / len(below[0])
    return outer_products(net, [times(m, d) * scale for m, d in zip(mu, [*slopes, None], strict=True)], below)


def outer_products(net: PCN, deltas: Sequence[Tensor], below: Sequence[Tensor]) -> Gradients:
    """δ_lᵀ z_{l−1} and Σ δ_l over the batch: `Gradients` from local factors that hold the sign and the 1/B."""
    weights = [d.t() @ z for d, z in zip(deltas, below, strict=True)]
    return Gradients(weights, net.biases and [d.sum(0) for d in deltas])


def quadratic(net: PCN, errors: Iterable[Tensor], dtype: torch.dtype = torch.float64) -> Tensor:
    """½ Σ_l e_lᵀ Π_l e_l, (B,), in float64: float32 sums are too coarse to compare two similar energies by."""
    total = torch.zeros((), dtype=dtype)
    for l, e in enumerate(errors):
        e = e.to(dtype)
        total = total + (e * weigh_layer(net, l, e)).sum(1)
    return 0.5 * total


def preactivation(net: PCN, l: int, z: Tensor, out: Tensor | None = None) -> Tensor:
    """W z + b of the layer above z, whose weights are `net.weights[l]`."""
    if net.biases is None:
        return torch.mm(z, net.weights[l].t(), out=out)
    return torch.addmm(net.biases[l], z, net.weights[l].t(), out=out)


def weigh(net: PCN, errors: list[Tensor]) -> list[Tensor]:
    """[Π_l e_l], the precision-weighted errors."""
    return errors if net.precisions is None else [e * p for e, p in zip(errors, net.precisions, strict=True)]


def unweigh(net: PCN, mu: list[Tensor]) -> list[Tensor]:
    """[Π_l⁻¹ μ_l] for the hidden layers."""
    return mu if net.precisions is None else [m / p for m, p in zip(mu, net.precisions[:-1], strict=True)]


def weigh_layer(net: PCN, l: int, error: Tensor) -> Tensor:
    """Π_l e_l of one layer."""
    return error if net.precisions is None else error * net.precisions[l]


def weigh_hidden(net: PCN, errors: Tensor) -> Tensor:
    """Π e for all hidden units side by side, (…, N)."""
    return errors if net.precisions is None else errors * torch.cat(net.precisions[:-1])


def unweigh_hidden(net: PCN, mu: Tensor) -> Tensor:
    """Π⁻¹ μ for all hidden units side by side, (…, N)."""
    return mu if net.precisions is None else mu / torch.cat(net.precisions[:-1])


def unweigh_output(net: PCN, lam: Tensor) -> Tensor:
    """Π_L⁻¹ λ."""
    return lam if net.precisions is None else lam / net.precisions[-1]


def in_range(name: str, value: Tensor) -> Tensor:
    """`value`; `ValueError` if it overflowed."""
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} overflows: the weights or the data are too large, or not finite")
    return value


def times(a: Tensor, slope: Tensor | None) -> Tensor:
    """φ′ ⊙ a, where None stands for the slope 1."""
    return a if slope is None else a * slope


def inputs(net: PCN, x: Tensor) -> Tensor:
    """`x` itself; `ValueError` unless it is a finite (B, n_0) like the weights, B ≥ 1."""
    return _batch("x", x, net, net.sizes[0])


def targets(net: PCN, y: Tensor, x: Tensor) -> Tensor:
    """`y` itself; `ValueError` unless it is a finite (B, n_L) with one row for each row of x."""
    y = _batch("y", y, net, net.sizes[-1])
    if len(y) != len(x):
        raise ValueError(f"y has shape {tuple(y.shape)}: must have one row for each of x's {len(x)}")
    return y


def _checked(net: PCN, activities: Iterable[Tensor], x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """The three of them, or a `ValueError`: activities are L − 1 matrices (B, n_l) like x."""
    activities, x = _list("activities", activities), inputs(net, x)
    if len(activities) != len(net.weights) - 1:
        raise ValueError(f"activities holds {len(activities)} layers: must be {len(net.weights) - 1}")
    for l, z in enumerate(activities, 1):
        _like(f"activities[{l - 1}]", z, x)
        if z.shape != (len(x), net.sizes[l]):
            raise ValueError(f"activities[{l - 1}] has shape {tuple(z.shape)}: must be ({len(x)}, {net.sizes[l]})")
    return activities, x, targets(net, y, x)


def _batch(name: str, value: Tensor, net: PCN, width: int) -> Tensor:
    _like(name, value, net.weights[0])
    if value.ndim != 2 or value.shape[1] != width or value.shape[0] == 0:
        raise ValueError(f"{name} has shape {tuple(value.shape)}: must be (B, {width}) with B ≥ 1")
    _finite(name, value)
    return value


def _like(name: str, value: object, model: Tensor) -> None:
    if not isinstance(value, Tensor) or value.dtype not in DTYPES:
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} is a {kind}: must be a float32 or float64 tensor")
    if value.dtype != model.dtype or value.device != model.device:
        own, other = (f"{v.dtype} on {v.device}" for v in (value, model))
        raise ValueError(f"{name} is {own}: must be {other}, like the rest")


def _list(name: str, values: Iterable[Any]) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise ValueError(f"{name} = {values!r}: must be a list") from None


def _finite(name: str, value: Tensor) -> None:
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} holds {float(value[~torch.isfinite(value)][0])}: must be finite")


def _precision(name: str, value: object, w: Tensor) -> Tensor:
    """The diagonal of Π_l, one positive number for each row of w, from that many or from a single one."""
    if not isinstance(value, Tensor):
        value = torch.from_numpy(checks.array(name, value).copy())  # which may be read-only, or change
    p = value.to(w)
    if not bool((p > 0).all()):
        raise ValueError(f"{name} holds {float(p.min())}: must be > 0")
    return p.expand(w.shape[0]) if p.ndim == 0 else p


def _generator(generator: torch.Generator | int) -> torch.Generator:
    if isinstance(generator, torch.Generator):
        return generator
    if checks.count("generator", generator) >= 2**64:
        raise ValueError(f"generator = {generator}: must be a seed below 2**64")
    return torch.Generator().manual_seed(int(generator))


def _orthonormal(a: Tensor) -> Tensor:
    """The orthogonal factor of a Gaussian matrix, uniformly distributed once R's diagonal is made positive."""
    tall = a if a.shape[0] >= a.shape[1] else a.t()
    q, r = torch.linalg.qr(tall)
    q = q * torch.sign(torch.diagonal(r))
    return (q if a.shape[0] >= a.shape[1] else q.t()).contiguous()
