"""The deep predictive coding network: activities, prediction errors, free energy and gradients. Torch.

Eq. 20's orientation: z_0 = x is the input, z_L is clamped to the target y, and for l = 1 … L

    u_l = W_l z_{l−1} + b_l,    e_l = z_l − φ(u_l) (l < L),    e_L = y − u_L,    F = ½ Σ_l e_lᵀ Π_l e_l.

Batches come first: x is (B, n_0), z_l is (B, n_l), W_l is (n_l, n_{l−1}), b_l is (n_l,). Precisions Π_l are positive
numbers or diagonals (n_l,). Nothing here uses autograd; it is the tests' oracle.
"""

import math
from collections import namedtuple
from dataclasses import dataclass

import torch

from pcbook import checks

# φ(u), into `out` if given; φ′(u) from u and h = φ(u); φ″(u); whether φ′ jumps at 0.
# A slope or bend of None stands for 1 or 0 everywhere.
Activation = namedtuple("Activation", "function slope bend kinked")
LEAK = 0.01


def _tanh_slope(u, h):
    return torch.addcmul(u.new_ones(()), h, h, value=-1)


def _tanh_bend(u):
    h = torch.tanh(u)
    return 2 * h * (h * h - 1)


def _linear(u, out=None):
    return _into(out, u)


def _relu(u, out=None):
    return torch.relu(u) if out is None else torch.clamp_min(u, 0.0, out=out)  # autograd's slope at 0 differs


def _leaky_relu(u, out=None):
    return _into(out, torch.nn.functional.leaky_relu(u, LEAK))


def _softplus(u, out=None):
    return _into(out, torch.nn.functional.softplus(u, threshold=40.0))


def _gelu(u, out=None):
    return _into(out, torch.nn.functional.gelu(u))


def _into(out, value):
    return value if out is None else out.copy_(value)


def _softplus_bend(u):
    h = torch.sigmoid(u)
    return h * (1 - h)


def _gelu_slope(u, h):
    return torch.special.ndtr(u) + u * _normal(u)


def _gelu_bend(u):
    return (2 - u * u) * _normal(u)


def _normal(u):
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

Gradients = namedtuple("Gradients", "weights biases")  # biases is None where the network has none


@dataclass(frozen=True, eq=False)
class PCN:
    """A predictive coding network: weights W_1 … W_L, an activation, and optionally biases and precisions.

    `weights` are float32 or float64 matrices (n_l, n_{l−1}) on one device; `biases` vectors (n_l,) or None;
    `precisions` one positive number or vector (n_l,) a layer, 1 unless given. The output layer is linear. The tensors
    are kept, not copied: an update in place trains the network. Raises `ValueError` for anything else.
    """

    weights: list
    activation: str = "linear"
    biases: list | None = None
    precisions: list | None = None

    def __post_init__(self):
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

    def _vectors(self, name, values):
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
    def sizes(self):
        """[n_0, …, n_L]."""
        return [self.weights[0].shape[1], *(w.shape[0] for w in self.weights)]

    @property
    def dtype(self):
        return self.weights[0].dtype

    @property
    def device(self):
        return self.weights[0].device

    def to(self, *args, **kwargs):
        """The same network with its tensors moved or cast, as `torch.Tensor.to` does it."""
        lists = (self.weights, self.biases, self.precisions)
        weights, biases, precisions = (values and [v.to(*args, **kwargs) for v in values] for values in lists)
        return PCN(weights, self.activation, biases, precisions)


def top(net, first):
    """The network above `first` hidden layers. Its parts are the network's own, and not checked again."""
    result = object.__new__(PCN)
    parts = {name: getattr(net, name) and getattr(net, name)[first:] for name in ("weights", "biases", "precisions")}
    for name, value in {**parts, "activation": net.activation}.items():
        object.__setattr__(result, name, value)
    return result


def init_weights(sizes, generator, scheme="default", interval=(-1.0, 1.0), dtype=torch.float32):
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

    def draw(l, n_in, n_out):
        def rand(kind):
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


def init_biases(sizes, generator, dtype=torch.float32):
    """Biases as PyTorch's `Linear` draws them, U(±1/√n_{l−1}): a list of L vectors (n_l,)."""
    return [w[:, 0].clone() for w in init_weights(sizes, generator, dtype=dtype)]


def forward(net, x):
    """The feedforward pass [z_1, …, z_L], each (B, n_l): no errors but the last layer's. z_L is the output."""
    state = sweep(net, inputs(net, x))
    return [*state.inputs[1:], state.output]


def loss(net, x, y):
    """L = ½ rᵀΠ_L r with r = y − output, one float64 number a sample, (B,): the energy of the feedforward pass."""
    return energy(net, forward(net, x)[:-1], x, y)


def prediction_errors(net, activities, x, y):
    """[e_1, …, e_L]: what each layer differs from its prediction by. `activities` are [z_1, …, z_{L−1}]."""
    return local(net, *_checked(net, activities, x, y))[0]


def energy(net, activities, x, y):
    """F = ½ Σ_l e_lᵀ Π_l e_l (Eqs. 1 and 20), one number a sample, (B,), summed in float64."""
    return quadratic(net, prediction_errors(net, activities, x, y))


def activity_gradients(net, activities, x, y):
    """[∂F/∂z_1, …, ∂F/∂z_{L−1}] of each sample (Eq. 2): Π_l e_l − W_{l+1}ᵀ (φ′(u_{l+1}) ⊙ Π_{l+1} e_{l+1})."""
    errors, slopes, _ = local(net, *_checked(net, activities, x, y))
    return descent(net, weigh(net, errors), slopes)


def gradients(net, activities, x, y):
    """∂F/∂W_l and ∂F/∂b_l (Eq. 3), averaged over the batch, from quantities at hand in layer l alone."""
    errors, slopes, below = local(net, *_checked(net, activities, x, y))
    return local_gradients(net, weigh(net, errors), slopes, below)


def weight_gradients(net, activities, x, y):
    """The weights' part of `gradients`: a list of L matrices like the weights."""
    return gradients(net, activities, x, y).weights


def backprop(net, x, y):
    """∂L/∂W_l and ∂L/∂b_l averaged over the batch, by backpropagation: one sweep up, one sweep down."""
    state = sweep(net, inputs(net, x))
    top = weigh_layer(net, -1, targets(net, y, x) - state.output)
    return outer_products(net, backward(net, state.slopes, top * (-1.0 / len(x))).deltas, state.inputs)


def backprop_gradients(net, x, y):
    """The weights' part of `backprop`: a list of L matrices like the weights."""
    return backprop(net, x, y).weights


# The sweeps that everything above, and inference, is made of. They trust their arguments.

Sweep = namedtuple("Sweep", "inputs preactivations slopes output")  # z_0 … z_{L−1}; u_l and φ′(u_l), l < L; u_L
Backward = namedtuple("Backward", "mu deltas")  # μ_1 … μ_{L−1}; δ_1 … δ_L


def sweep(net, x, errors=None):
    """One pass upwards with z_l = φ(u_l) + e_l. `errors` [e_1, …, e_{L−1}] are zero unless given."""
    function, slope, *_ = ACTIVATIONS[net.activation]
    z, u, slopes = [x], [], []
    for l in range(len(net.weights) - 1):
        u.append(preactivation(net, l, z[-1]))
        h = function(u[-1])
        slopes.append(slope(u[-1], h))
        z.append(h if errors is None else h + errors[l])
    return Sweep(z, u, slopes, preactivation(net, -1, z[-1]))


def slopes(net, below):
    """(u_l, φ′(u_l)) for l < L at given z_0 … z_{L−1}."""
    function, slope, *_ = ACTIVATIONS[net.activation]
    u = [preactivation(net, l, z) for l, z in enumerate(below[:-1])]
    return u, [slope(v, function(v)) for v in u]


def backward(net, slopes, top):
    """One pass downwards from μ_L = `top` (…, n_L): δ_l = φ′(u_l) ⊙ μ_l and μ_{l−1} = W_lᵀ δ_l, δ_L = μ_L."""
    mu, deltas = [], [top]
    for w, d in zip(reversed(net.weights[1:]), reversed(slopes), strict=True):
        mu.append(deltas[-1] @ w)
        deltas.append(times(mu[-1], d))
    return Backward(mu[::-1], deltas[::-1])


def adjoint(net, slopes, top):
    """[μ_1, …, μ_{L−1}] of `backward`: Π_l e_l at the equilibrium whose weighted output error is `top`."""
    return backward(net, slopes, top).mu


def local(net, activities, x, y):
    """[e_1 … e_L], φ′(u_l) for l < L and [z_0 … z_{L−1}] at given activities, every layer by itself."""
    function, slope, *_ = ACTIVATIONS[net.activation]
    below = [x, *activities]
    u = [preactivation(net, l, z) for l, z in enumerate(below)]
    h = [function(v) for v in u[:-1]]
    slopes = [slope(*pair) for pair in zip(u[:-1], h, strict=True)]
    return [z - p for z, p in zip([*below[1:], y], [*h, u[-1]], strict=True)], slopes, below


def descent(net, mu, slopes):
    """∂F/∂z_l = μ_l − W_{l+1}ᵀ (φ′(u_{l+1}) ⊙ μ_{l+1}) from weighted errors μ_l = Π_l e_l, l = 1 … L."""
    above = zip(mu[1:], [*slopes, None][1:], net.weights[1:], strict=True)
    return [m - times(top, d) @ w for m, (top, d, w) in zip(mu[:-1], above, strict=True)]


def local_gradients(net, mu, slopes, below):
    """−(φ′(u_l) ⊙ μ_l)ᵀ z_{l−1} / B and −Σ φ′(u_l) ⊙ μ_l / B from weighted errors μ_l = Π_l e_l, l = 1 … L."""
    scale = -1.0 / len(below[0])
    return outer_products(net, [times(m, d) * scale for m, d in zip(mu, [*slopes, None], strict=True)], below)


def outer_products(net, deltas, below):
    """δ_lᵀ z_{l−1} and Σ δ_l over the batch: `Gradients` from local factors that hold the sign and the 1/B."""
    weights = [d.t() @ z for d, z in zip(deltas, below, strict=True)]
    return Gradients(weights, net.biases and [d.sum(0) for d in deltas])


def quadratic(net, errors, dtype=torch.float64):
    """½ Σ_l e_lᵀ Π_l e_l, (B,), in float64: float32 sums are too coarse to compare two similar energies by."""
    total = 0.0
    for l, e in enumerate(errors):
        e = e.to(dtype)
        total = total + (e * weigh_layer(net, l, e)).sum(1)
    return 0.5 * total


def preactivation(net, l, z, out=None):
    """W z + b of the layer above z, whose weights are `net.weights[l]`."""
    if net.biases is None:
        return torch.mm(z, net.weights[l].t(), out=out)
    return torch.addmm(net.biases[l], z, net.weights[l].t(), out=out)


def weigh(net, errors):
    """[Π_l e_l], the precision-weighted errors."""
    return errors if net.precisions is None else [e * p for e, p in zip(errors, net.precisions, strict=True)]


def unweigh(net, mu):
    """[Π_l⁻¹ μ_l] for the hidden layers."""
    return mu if net.precisions is None else [m / p for m, p in zip(mu, net.precisions[:-1], strict=True)]


def weigh_layer(net, l, error):
    """Π_l e_l of one layer."""
    return error if net.precisions is None else error * net.precisions[l]


def weigh_hidden(net, errors):
    """Π e for all hidden units side by side, (…, N)."""
    return errors if net.precisions is None else errors * torch.cat(net.precisions[:-1])


def unweigh_hidden(net, mu):
    """Π⁻¹ μ for all hidden units side by side, (…, N)."""
    return mu if net.precisions is None else mu / torch.cat(net.precisions[:-1])


def unweigh_output(net, lam):
    """Π_L⁻¹ λ."""
    return lam if net.precisions is None else lam / net.precisions[-1]


def times(a, slope):
    """φ′ ⊙ a, where None stands for the slope 1."""
    return a if slope is None else a * slope


def inputs(net, x):
    """`x` itself; `ValueError` unless it is a finite (B, n_0) like the weights, B ≥ 1."""
    return _batch("x", x, net, net.sizes[0])


def targets(net, y, x):
    """`y` itself; `ValueError` unless it is a finite (B, n_L) with one row for each row of x."""
    y = _batch("y", y, net, net.sizes[-1])
    if len(y) != len(x):
        raise ValueError(f"y has shape {tuple(y.shape)}: must have one row for each of x's {len(x)}")
    return y


def _checked(net, activities, x, y):
    """The three of them, or a `ValueError`: activities are L − 1 matrices (B, n_l) like x."""
    activities, x = _list("activities", activities), inputs(net, x)
    if len(activities) != len(net.weights) - 1:
        raise ValueError(f"activities holds {len(activities)} layers: must be {len(net.weights) - 1}")
    for l, z in enumerate(activities, 1):
        _like(f"activities[{l - 1}]", z, x)
        if z.shape != (len(x), net.sizes[l]):
            raise ValueError(f"activities[{l - 1}] has shape {tuple(z.shape)}: must be ({len(x)}, {net.sizes[l]})")
    return activities, x, targets(net, y, x)


def _batch(name, value, net, width):
    _like(name, value, net.weights[0])
    if value.ndim != 2 or value.shape[1] != width or value.shape[0] == 0:
        raise ValueError(f"{name} has shape {tuple(value.shape)}: must be (B, {width}) with B ≥ 1")
    _finite(name, value)
    return value


def _like(name, value, model):
    if not isinstance(value, torch.Tensor) or value.dtype not in DTYPES:
        kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"{name} is a {kind}: must be a float32 or float64 tensor")
    if value.dtype != model.dtype or value.device != model.device:
        own, other = (f"{v.dtype} on {v.device}" for v in (value, model))
        raise ValueError(f"{name} is {own}: must be {other}, like the rest")


def _list(name, values):
    try:
        return list(values)
    except TypeError:
        raise ValueError(f"{name} = {values!r}: must be a list") from None


def _finite(name, value):
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} holds {float(value[~torch.isfinite(value)][0])}: must be finite")


def _precision(name, value, w):
    """The diagonal of Π_l, one positive number for each row of w, from that many or from a single one."""
    if not isinstance(value, torch.Tensor):
        value = torch.from_numpy(checks.array(name, value))
    p = value.to(w)
    if not bool((p > 0).all()):
        raise ValueError(f"{name} holds {float(p.min())}: must be > 0")
    return p.expand(w.shape[0]) if p.ndim == 0 else p


def _generator(generator):
    if isinstance(generator, torch.Generator):
        return generator
    if checks.count("generator", generator) >= 2**64:
        raise ValueError(f"generator = {generator}: must be a seed below 2**64")
    return torch.Generator().manual_seed(int(generator))


def _orthonormal(a):
    """The orthogonal factor of a Gaussian matrix, uniformly distributed once R's diagonal is made positive."""
    tall = a if a.shape[0] >= a.shape[1] else a.t()
    q, r = torch.linalg.qr(tall)
    q = q * torch.sign(torch.diagonal(r))
    return (q if a.shape[0] >= a.shape[1] else q.t()).contiguous()
