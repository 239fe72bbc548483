"""Deep linear networks against oracles: dense least squares, autograd, finite differences, limits, random ensembles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcbook import linear_theory as theory
from pcbook import network, onemlp
from pcbook.network import PCN

GIVEN = settings(max_examples=40, deadline=None)
CASES = st.tuples(
    st.lists(st.integers(1, 5), min_size=2, max_size=13),  # sizes, depth 1 to 12
    st.booleans(),  # biases
    st.booleans(),  # precisions
    st.integers(0, 10_000),
)


def make(sizes, biases=False, precisions=False, seed=0, batch=3, scheme="orthogonal"):
    """A random linear net of sane scale at any depth, and a batch."""
    rand = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=rand, dtype=torch.float64)

    weights = [1.3 * w for w in network.init_weights(sizes, rand, scheme, dtype=torch.float64)]
    b = [normal(n) for n in sizes[1:]] if biases else None
    p = [normal(n).exp() for n in sizes[1:]] if precisions else None
    return PCN(weights, "linear", b, p), normal(batch, sizes[0]), normal(batch, sizes[-1])


def least_squares(net, x, y):
    """Activities and energy of one sample by brute force: all Π_l^½ e_l in one dense system."""
    sizes = net.sizes
    edges = np.cumsum([0, *sizes[1:]])
    system = torch.zeros(edges[-1], edges[-2], dtype=torch.float64)
    target = torch.zeros(edges[-1], dtype=torch.float64)
    for k, w in enumerate(net.weights):
        rows = slice(edges[k], edges[k + 1])
        bias = 0 if net.biases is None else net.biases[k]
        if k < len(sizes) - 2:
            system[rows, rows] = torch.eye(sizes[k + 1], dtype=torch.float64)
            target[rows] += bias
        else:
            target[rows] += bias - y
        if k:
            system[rows, edges[k - 1] : edges[k]] = -w
        else:
            target[rows] += w @ x
        root = 1 if net.precisions is None else net.precisions[k].sqrt()
        system[rows] *= torch.as_tensor(root).reshape(-1, 1)
        target[rows] *= root
    z = torch.linalg.lstsq(system, target[:, None], driver="gelsd").solution[:, 0] if len(system[0]) else target[:0]
    return z, 0.5 * (system @ z - target).square().sum()


def stacked(tensors):
    return torch.cat([t.flatten() for t in tensors])


# The energy


@GIVEN
@given(CASES)
def test_equilibrium_and_energy_equal_dense_least_squares(case):
    net, x, y = make(*case)
    z, energy = theory.equilibrium(net, x, y), theory.equilibrated_energy(net, x, y)
    for i in range(len(x)):
        dense, least = least_squares(net, x[i], y[i])
        assert torch.allclose(energy[i], least, rtol=1e-8, atol=1e-12)
        if z:
            assert torch.allclose(stacked([v[i] for v in z]), dense, rtol=1e-7, atol=1e-8)


@GIVEN
@given(CASES)
def test_equilibrium_balances_the_forces_and_has_the_energy(case):
    net, x, y = make(*case)
    z = theory.equilibrium(net, x, y)
    assert torch.allclose(network.energy(net, z, x, y), theory.equilibrated_energy(net, x, y), rtol=1e-9, atol=1e-12)
    scale = max(float(v.abs().max()) for v in (*net.weights, *(net.precisions or net.weights), *z, y)) ** 3
    assert all(float(g.abs().max()) < 1e-10 * max(scale, 1) for g in network.activity_gradients(net, z, x, y))


@GIVEN
@given(CASES)
def test_energy_is_the_loss_in_the_metric_s_and_no_larger(case):
    net, x, y = make(*case)
    s = theory.output_scale(net)
    r = y - network.forward(net, x)[-1]
    metric = 0.5 * torch.einsum("bi,ij,bj->b", r, torch.linalg.inv(s), r)
    energy, loss = theory.equilibrated_energy(net, x, y), network.loss(net, x, y)
    assert torch.allclose(energy, metric, rtol=1e-7, atol=1e-12)
    assert torch.all(energy <= loss * (1 + 1e-12) + 1e-15)
    least = loss / torch.linalg.eigvalsh(s * _outer_root(net)).max()
    assert torch.all(energy >= least * (1 - 1e-9) - 1e-15)


def _outer_root(net):
    """√(Π_i Π_j): S times this is the scale in units of the output noise, at least the identity."""
    p = torch.ones(net.sizes[-1], dtype=torch.float64) if net.precisions is None else net.precisions[-1]
    return torch.outer(p.sqrt(), p.sqrt())


@GIVEN
@given(st.lists(st.integers(1, 5), min_size=3, max_size=9), st.integers(0, 10_000))
def test_unit_precisions_give_the_published_scale(sizes, seed):
    """S = I + Σ_{l=2}^{L} (W_L … W_l)(W_L … W_l)ᵀ, written with chained products as in Innocenti et al. (2024)."""
    net, x, y = make(sizes, seed=seed)
    w = [m.numpy() for m in net.weights]
    s = np.eye(sizes[-1])
    for k in range(2, len(w) + 1):
        product = np.linalg.multi_dot(w[k - 1 :][::-1]) if k < len(w) else w[-1]
        s = s + product @ product.T
    assert np.allclose(theory.output_scale(net).numpy(), s, rtol=1e-12)
    f = x.numpy()
    for m in w:
        f = f @ m.T
    energy = [0.5 * r @ np.linalg.solve(s, r) for r in y.numpy() - f]
    assert np.allclose(theory.equilibrated_energy(net, x, y).numpy(), energy, rtol=1e-9)


def test_scale_is_the_covariance_of_noise_sent_through_the_net():
    net, x, _ = make([3, 4, 2, 3], precisions=True, seed=5)
    rand, count = torch.Generator().manual_seed(0), 200_000
    errors = [torch.randn(count, n, generator=rand, dtype=torch.float64) for n in net.sizes[1:]]
    errors = [e / p.sqrt() for e, p in zip(errors, net.precisions, strict=True)]
    output = network.sweep(net, x[:1].expand(count, -1), errors[:-1]).output + errors[-1]
    assert torch.allclose(torch.cov(output.t()), theory.output_scale(net), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("depth", [1, 2, 5, 12])
def test_precise_hidden_layers_give_the_loss(depth):
    net, x, y = make([3] * (depth + 1), biases=True, seed=depth)
    rigid = PCN(net.weights, "linear", net.biases, [1e12] * (depth - 1) + [2.0])
    assert torch.allclose(theory.equilibrated_energy(rigid, x, y), network.loss(rigid, x, y), rtol=1e-7)
    assert torch.allclose(theory.output_scale(rigid), 0.5 * torch.eye(3, dtype=torch.float64), atol=1e-7)


def test_one_layer_has_nothing_to_infer():
    net, x, y = make([3, 2], biases=True, precisions=True)
    assert theory.equilibrium(net, x, y) == [] and theory.jacobians(net) == []
    assert torch.allclose(theory.equilibrated_energy(net, x, y), network.loss(net, x, y))
    assert torch.allclose(theory.output_scale(net), torch.diag(1 / net.precisions[0]))


def test_energy_survives_a_scale_that_swallows_the_identity():
    """Weights of 1e6 at five layers: S reaches 1e48 and forming it would lose r; one direction keeps S = 1."""
    w = [torch.diag(torch.tensor([1e6, 0.0], dtype=torch.float64))] * 5
    y = torch.tensor([[0.0, 3.0]], dtype=torch.float64)
    energy = theory.equilibrated_energy(PCN(w), torch.zeros(1, 2, dtype=torch.float64), y)
    assert torch.allclose(energy, torch.tensor(4.5, dtype=torch.float64))


# The gradient


@GIVEN
@given(CASES)
def test_gradients_equal_autograd_of_the_energy_and_the_local_rule(case):
    net, x, y = make(*case)
    leaves = [t.clone().requires_grad_() for t in (*net.weights, *(net.biases or []))]
    depth = len(net.weights)
    copy = PCN(leaves[:depth], "linear", leaves[depth:] or None, net.precisions)
    r = y - network.forward(copy, x)[-1]
    s = theory.output_scale(copy)
    (0.5 * (r * torch.linalg.solve(s, r.t()).t()).sum(1)).mean().backward()
    found = theory.equilibrated_energy_gradients(net, x, y)
    local = network.gradients(net, theory.equilibrium(net, x, y), x, y)
    largest = max(float(t.grad.abs().max()) for t in leaves)
    oracle = stacked([t.grad for t in leaves])
    assert torch.allclose(stacked([*found.weights, *(found.biases or [])]), oracle, rtol=1e-6, atol=1e-8 * largest)
    assert torch.allclose(stacked([*local.weights, *(local.biases or [])]), oracle, rtol=1e-6, atol=1e-8 * largest)


def test_gradient_equals_finite_differences():
    net, x, y = make([2, 3, 4, 2], biases=True, precisions=True, seed=3)
    found, step = theory.equilibrated_energy_gradients(net, x, y), 1e-5
    for group, gradients in zip((net.weights, net.biases), found, strict=True):
        for tensor, gradient in zip(group, gradients, strict=True):
            for index in np.ndindex(*tensor.shape):
                value, sides = float(tensor[index]), []
                for sign in (1, -1):
                    tensor[index] = value + sign * step
                    sides.append(float(theory.equilibrated_energy(net, x, y).mean()))
                tensor[index] = value
                assert math.isclose(
                    (sides[0] - sides[1]) / (2 * step), float(gradient[index]), rel_tol=1e-6, abs_tol=1e-8
                )


# One hidden unit: the rest of the book


@GIVEN
@given(*[st.floats(-2, 2)] * 4, st.floats(0.1, 10), st.floats(0.1, 10))
def test_one_hidden_unit_is_the_1mlp(w1, w2, x, y, pi1, pi2):
    net = PCN([torch.tensor([[w]], dtype=torch.float64) for w in (w1, w2)], precisions=[pi1, pi2])
    data = [torch.tensor([[v]], dtype=torch.float64) for v in (x, y)]
    energy = theory.equilibrated_energy(net, *data).item()
    assert np.isclose(energy, onemlp.equilibrated_energy(w1, w2, x, y, pi1, pi2), rtol=1e-10)
    if theory.equilibrium(net, *data):
        assert np.isclose(theory.equilibrium(net, *data)[0].item(), onemlp.equilibrium(w1, w2, x, y, pi1, pi2))
    gradient = stacked(theory.equilibrated_energy_gradients(net, *data).weights)
    assert np.allclose(gradient, onemlp.equilibrated_energy_gradient(w1, w2, x, y, pi1, pi2))
    loss, settled = theory.origin_hessians(net, *data)
    assert np.allclose(loss, pi2 * onemlp.loss_hessian(0, 0, x, y))
    assert np.allclose(settled, onemlp.equilibrated_energy_hessian(0, 0, x, y, pi1, pi2))


# The origin


def at(net, weights):
    parts = weights.split([w.numel() for w in net.weights])
    return PCN([p.reshape(w.shape) for p, w in zip(parts, net.weights, strict=True)], precisions=net.precisions)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=6), st.booleans(), st.integers(0, 10_000))
def test_origin_hessians_equal_autograd(sizes, precisions, seed):
    net, x, y = make(sizes, precisions=precisions, seed=seed)
    origin = torch.zeros(sum(w.numel() for w in net.weights), dtype=torch.float64)

    def energy(weights):
        r, s = y - network.forward(at(net, weights), x)[-1], theory.output_scale(at(net, weights))
        return (0.5 * r * torch.linalg.solve(s, r.t()).t()).sum(1).mean()

    for found, function in zip(
        theory.origin_hessians(net, x, y), (lambda w: network.loss(at(net, w), x, y).mean(), energy), strict=True
    ):
        oracle = torch.autograd.functional.hessian(function, origin)
        assert torch.allclose(found, oracle, rtol=1e-9, atol=1e-12)
        assert torch.equal(found, found.t())


@pytest.mark.parametrize("depth", [3, 4, 7, 12])
def test_beyond_one_hidden_layer_only_the_energy_curves_down(depth):
    net, x, y = make([2] * (depth + 1), precisions=True, seed=depth, batch=5)
    loss, energy = theory.origin_hessians(net, x, y)
    assert torch.count_nonzero(loss) == 0
    weighted = y * net.precisions[-1]
    expected = -torch.linalg.eigvalsh(weighted.t() @ weighted / 5).max() / net.precisions[-2].min()
    eigenvalues = torch.linalg.eigvalsh(energy)
    assert torch.isclose(eigenvalues.min(), expected) and expected < 0
    assert eigenvalues.max() < 1e-12 and int((eigenvalues < -1e-12).sum()) == 4


def test_depth_does_not_matter_at_the_origin_beyond_one_hidden_layer():
    lowest = []
    for depth in (3, 6, 9):
        net, *_ = make([3] * (depth + 1))
        x, y = make([3] * 4, seed=1)[1:]
        lowest.append(torch.linalg.eigvalsh(theory.origin_hessians(net, x, y)[1]).min())
    assert torch.allclose(torch.stack(lowest), lowest[0])
    assert torch.isclose(lowest[0], -torch.linalg.eigvalsh(y.t() @ y / len(y)).max())


def chain_energy(w, x, y):
    s, product = 1.0, 1.0
    for v in reversed(w[1:]):
        product = product * v
        s = s + product**2
    return 0.5 * (y - product * w[0] * x) ** 2 / s


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.3, 2), min_size=2, max_size=8), st.data())
def test_all_saddles_of_a_chain_are_strict_and_lie_where_the_last_weight_is_zero(weights, data):
    """Two zero weights are enough to make a critical point of the loss; for ℱ* the last one must be among them."""
    w, y = torch.tensor(weights, dtype=torch.float64), 1.5
    depth = len(weights)
    zeros = data.draw(st.lists(st.integers(0, depth - 1), min_size=2, max_size=2, unique=True))
    w[zeros] = 0
    net = PCN([v.reshape(1, 1) for v in w])
    x, target = torch.tensor([[0.7]]).double(), torch.tensor([[y]]).double()
    assert not any(bool(g.any()) for g in network.backprop_gradients(net, x, target))
    pc = stacked(theory.equilibrated_energy_gradients(net, x, target).weights)
    if depth - 1 in zeros:
        hessian = torch.autograd.functional.hessian(lambda v: chain_energy(v, 0.7, y), w)
        assert not pc.any() and torch.linalg.eigvalsh(hessian)[0] <= -(y**2) * (1 - 1e-9)
    else:
        assert abs(float(pc[-1])) > 1e-3


# Random weights


@pytest.mark.parametrize("scheme", network.SCHEMES)
@pytest.mark.parametrize("sizes", [[3, 6, 4, 5, 2], [2, 5, 5, 5, 3]])
def test_expected_scale_is_the_mean_over_draws(scheme, sizes):
    rand = torch.Generator().manual_seed(0)
    for skips in (False, True) if sizes[1] == sizes[3] else (False,):
        draws = []
        for _ in range(2500):
            weights = network.init_weights(sizes, rand, scheme, dtype=torch.float64)
            draws.append(theory.output_scale(PCN(theory.with_skips(weights) if skips else weights)))
        mean, error = torch.stack(draws).mean(0), torch.stack(draws).std(0) / 50
        expected = theory.expected_output_scale(sizes, scheme, skips)
        assert torch.all((mean - expected * torch.eye(sizes[-1])).abs() < 4.5 * error + 1e-9)


@pytest.mark.parametrize("scheme", network.SCHEMES)
def test_the_mean_ratio_keeps_its_bound(scheme):
    """E[ℱ*/ℒ] ≥ 1/(1 + n_L (s − 1)), by Jensen; with one output and narrow nets it is not far off."""
    rand, sizes = torch.Generator().manual_seed(1), [6, 6, 6, 6, 1]
    x, y = torch.randn(1, 6, generator=rand, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    ratios = [theory.against_backprop(theory.random_net(sizes, rand, scheme), x, y)[0] for _ in range(300)]
    bound = 1 / theory.expected_output_scale(sizes, scheme)
    assert bound * (1 - 1e-9) <= np.mean(ratios) <= 3 * bound


def test_expected_scale_in_closed_form():
    n, depth = 64, 10
    sizes = [n] * (depth + 1)
    scale = {s: theory.expected_output_scale(sizes, s) for s in network.SCHEMES}
    assert math.isclose(scale["default"], 1.5 * (1 - 3.0**-depth))
    assert math.isclose(scale["he"], 2.0**depth - 1) and scale["orthogonal"] == depth
    assert math.isclose(scale["mupc"], 1 + (1 - depth ** -(depth - 1)) / (1 - 1 / depth) / n)
    growth = (1 + 1 / depth) ** (depth - 1) - 1
    assert math.isclose(theory.expected_output_scale(sizes, "mupc", skips=True), 1 + depth * growth / n)


def test_orthogonal_weights_divide_the_energy_by_the_depth():
    for depth in (2, 5, 20):
        rand = torch.Generator().manual_seed(depth)
        net = PCN(network.init_weights([6] * (depth + 1), rand, "orthogonal", dtype=torch.float64))
        x, y = torch.randn(2, 4, 6, generator=rand, dtype=torch.float64)
        assert torch.allclose(theory.equilibrated_energy(net, x, y), network.loss(net, x, y) / depth)


def test_with_skips_is_a_residual_network():
    net, x, _ = make([3, 4, 4, 4, 2], seed=2)
    z = x @ net.weights[0].t()
    for w in net.weights[1:-1]:
        z = z + z @ w.t()
    assert torch.allclose(network.forward(PCN(theory.with_skips(net.weights)), x)[-1], z @ net.weights[-1].t())
    assert theory.with_skips(net.weights[:1]) == net.weights[:1]


def test_random_nets_become_backprop_where_the_scale_says_so():
    rand = torch.Generator().manual_seed(0)
    for scheme, skips, width in (("mupc", True, 256), ("orthogonal", False, 64), ("default", False, 256)):
        sizes = [width] * 6 + [4]
        x, y = (torch.randn(8, n, generator=rand, dtype=torch.float64) for n in (width, 4))
        ratio, angle = theory.against_backprop(theory.random_net(sizes, rand, scheme, skips), x, y)
        assert math.isclose(ratio, 1 / theory.expected_output_scale(sizes, scheme, skips), rel_tol=0.08)
        assert (angle < 25) is (scheme != "default")
    rigid = theory.random_net([3, 4, 2], rand)
    rigid = PCN(rigid.weights, precisions=[1e12, 1.0])
    x, y = (torch.randn(5, n, generator=rand, dtype=torch.float64) for n in (3, 2))
    assert np.allclose(theory.against_backprop(rigid, x, y), [1, 0], atol=1e-6)


def test_the_angle_is_that_of_the_stacked_gradients():
    net, x, y = make([3, 4, 2], precisions=True, seed=8)
    pc = stacked(theory.equilibrated_energy_gradients(net, x, y).weights)
    bp = stacked(network.backprop_gradients(net, x, y))
    cosine = float(pc @ bp / (pc.norm() * bp.norm()))
    assert math.isclose(math.cos(math.radians(theory.against_backprop(net, x, y)[1])), cosine, abs_tol=1e-12)


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda n, x, y: theory.output_scale(PCN(n.weights, "tanh")),
            "net.activation = 'tanh': must be one of 'linear'",
        ),
        (lambda n, x, y: theory.equilibrated_energy(n, x[:, :1], y), "x has shape"),
        (lambda n, x, y: theory.equilibrated_energy(n, x, y[:2]), "y has shape"),
        (lambda n, x, y: theory.equilibrium(n, x, y * math.nan), "y holds nan: must be finite"),
        (lambda n, x, y: theory.origin_hessians(n, x, y[:, :1]), "y has shape"),
        (lambda n, x, y: theory.origin_hessians(make([2, 2, 2], biases=True)[0], x, y), "net.biases: must be None"),
        (lambda n, x, y: theory.gains([2, 2], "xavier"), "scheme = 'xavier': must be one of"),
        (lambda n, x, y: theory.gains([2]), "sizes = .2.: must hold at least two layers"),
        (lambda n, x, y: theory.with_skips(n.weights), r"weights\[1\] has shape \(4, 3\): must be square"),
    ],
)
def test_bad_input_is_named(call, message):
    net, x, y = make([2, 3, 4, 2])
    with pytest.raises(ValueError, match=message):
        call(net, x, y)
