"""Newton and natural gradient: against autograd, dense solves, least squares, and their limits."""

import math

import numpy as np
import pytest
import torch

from pcbook import network, second_order, taylor

SIZES, BATCH = (3, 4, 2, 2), 5
KINDS = pytest.mark.parametrize("activation", ["linear", "tanh", "softplus"])


def problem(seed, sizes=SIZES, batch=BATCH, nets=2):
    rng = torch.Generator().manual_seed(seed)
    count = sum(a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
    shapes = (nets, count), (nets, batch, sizes[0]), (nets, batch, sizes[-1])
    return [torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in shapes]


def test_vectors_and_weights_are_the_same_numbers():
    theta, x, y = problem(0)
    net = network.PCN(second_order.split(theta[0], SIZES), "tanh")
    assert torch.equal(second_order.vector(net), theta[0])
    torch.testing.assert_close(second_order.outputs(theta, SIZES, "tanh", x)[0], network.forward(net, x[0])[-1])
    torch.testing.assert_close(second_order.loss(theta, SIZES, "tanh", x, y)[0], network.loss(net, x[0], y[0]).mean())


@KINDS
def test_the_gradient_is_backpropagation(activation):
    theta, x, y = problem(1)
    found = second_order.gradient(theta, SIZES, activation, x, y)
    for i in range(2):
        net = network.PCN(second_order.split(theta[i], SIZES), activation)
        torch.testing.assert_close(found[i], second_order.join(network.backprop_gradients(net, x[i], y[i])))


@KINDS
@pytest.mark.parametrize("chunk", [None, 3])
def test_the_hessian_equals_autograd(activation, chunk):
    theta, x, y = problem(2)
    found = second_order.hessian(theta, SIZES, activation, x, y, chunk)
    for i in range(2):
        dense = torch.autograd.functional.hessian(
            lambda t, i=i: second_order.loss(t, SIZES, activation, x[i], y[i]), theta[i]
        )
        torch.testing.assert_close(found[i], dense)


@pytest.mark.parametrize("damping", [1e-3, 1.0, 30.0])
def test_newton_solves_its_system_where_the_hessian_is_positive(damping):
    rng = torch.Generator().manual_seed(3)
    root, g = torch.randn(4, 6, 6, generator=rng, dtype=torch.float64), torch.randn(4, 6, generator=rng).double()
    h = root @ root.mT
    step = second_order.newton(g, h, damping)
    torch.testing.assert_close((h @ step[..., None])[..., 0] + damping * step, -g)


@KINDS
def test_newton_goes_downhill_from_any_weights(activation):
    theta, x, y = problem(4, nets=20)
    g = second_order.gradient(theta, SIZES, activation, x, y)
    h = second_order.hessian(theta, SIZES, activation, x, y)
    assert bool((torch.linalg.eigvalsh(h)[:, 0] < -1e-3).any())  # the case that the shift is for
    step = second_order.newton(g, h, 0.1)
    assert bool(((step * g).sum(-1) < 0).all())
    shift = 0.1 + (-torch.linalg.eigvalsh(h)[:, :1]).clamp(min=0)
    torch.testing.assert_close((h @ step[..., None])[..., 0] + shift * step, -g)


def test_one_newton_step_without_damping_solves_least_squares():
    theta, x, y = problem(5, sizes=(3, 2), batch=7)
    g, h = (f(theta, (3, 2), "linear", x, y) for f in (second_order.gradient, second_order.hessian))
    after = theta + second_order.newton(g, h, 1e-12)
    best = torch.linalg.lstsq(x, y).solution.mT
    torch.testing.assert_close(second_order.split(after, (3, 2))[0], best, rtol=1e-8, atol=1e-8)


@KINDS
@pytest.mark.parametrize("batch", [1, 40])  # fewer rows than weights, and more
@pytest.mark.parametrize("damping", [1e-2, 5.0])
def test_natural_gradient_equals_the_dense_solve(activation, batch, damping):
    theta, x, y = problem(6, batch=batch)
    jacobian = second_order.jacobian(theta, SIZES, activation, x)
    found = second_order.natural(jacobian, y - second_order.outputs(theta, SIZES, activation, x), damping)
    g = second_order.gradient(theta, SIZES, activation, x, y)
    fisher = torch.einsum("nbop,nboq->npq", jacobian, jacobian) / batch
    dense = -torch.linalg.solve(fisher + damping * torch.eye(theta.shape[1]), g[..., None])[..., 0]
    torch.testing.assert_close(found, dense)


def test_with_large_damping_every_method_descends_the_gradient():
    theta, x, y = problem(7)
    of = SIZES, "tanh"
    g, h = second_order.gradient(theta, *of, x, y), second_order.hessian(theta, *of, x, y)
    jacobian, residual = second_order.jacobian(theta, *of, x), y - second_order.outputs(theta, *of, x)
    large = 1e8
    for step in (
        second_order.newton(g, h, large),
        second_order.natural(jacobian, residual, large),
        second_order.samplewise(jacobian, residual, large),
    ):
        torch.testing.assert_close(step * large, -g, rtol=1e-5, atol=1e-5)


def test_samplewise_is_the_mean_of_single_samples():
    theta, x, y = problem(8)
    jacobian, residual = (
        second_order.jacobian(theta, SIZES, "tanh", x),
        y - second_order.outputs(theta, SIZES, "tanh", x),
    )
    single = [second_order.natural(jacobian[:, [b]], residual[:, [b]], 0.3) for b in range(BATCH)]
    torch.testing.assert_close(second_order.samplewise(jacobian, residual, 0.3), torch.stack(single).mean(0))


def test_with_one_output_and_proportional_samples_the_natural_step_is_parallel_to_the_gradient():
    theta, x, _ = problem(9, sizes=(1, 1, 1), batch=6)  # a linear chain: every sample's Jacobian is x times one vector
    jacobian, residual = (
        second_order.jacobian(theta, (1, 1, 1), "linear", x),
        torch.ones(2, 6, 1, dtype=torch.float64) * x,
    )
    step = second_order.natural(jacobian, residual, 0.1)
    g = -(jacobian * residual[..., None]).sum(2).mean(1)
    cosine = torch.nn.functional.cosine_similarity(step, g)
    torch.testing.assert_close(cosine, -torch.ones(2, dtype=torch.float64))


def test_in_a_single_layer_the_fisher_information_is_the_hessian():
    theta, x, y = problem(10, sizes=(3, 2), batch=7)
    jacobian = second_order.jacobian(theta, (3, 2), "tanh", x)
    fisher = torch.einsum("nbop,nboq->npq", jacobian, jacobian) / 7
    torch.testing.assert_close(fisher, second_order.hessian(theta, (3, 2), "tanh", x, y))


def test_the_activities_fisher_information_is_another_one():
    """What inference inverts (Eq. 6) lives on activities: it has their size, not the weights'."""
    theta, x, _ = problem(11)
    net = network.PCN(second_order.split(theta[0], SIZES), "tanh")
    assert taylor.fisher(net, x[0]).shape[-1] == sum(SIZES[1:-1]) != theta.shape[1]


@pytest.mark.parametrize("damping", [0.0, -1.0, math.nan, math.inf])
def test_damping_must_be_positive(damping):
    theta, x, y = problem(12)
    jacobian = second_order.jacobian(theta, SIZES, "tanh", x)
    with pytest.raises(ValueError, match="damping"):
        second_order.natural(jacobian, y, damping)
    with pytest.raises(ValueError, match="damping"):
        second_order.newton(theta, torch.eye(theta.shape[1], dtype=theta.dtype).expand(2, -1, -1), damping)


def test_bad_input_is_named():
    theta, x, y = problem(13)
    with pytest.raises(ValueError, match="theta has shape"):
        second_order.split(theta[..., 1:], SIZES)
    with pytest.raises(ValueError, match="leading axes"):
        second_order.gradient(theta, SIZES, "tanh", x[0], y[0])
    with pytest.raises(ValueError, match="activation"):
        second_order.hessian(theta, SIZES, "sigmoid", x, y)
    weights = second_order.split(theta[0], SIZES)
    with pytest.raises(ValueError, match="biases"):
        second_order.vector(network.PCN(weights, "tanh", [w[:, 0].clone() for w in weights]))
    assert np.isfinite(float(second_order.vector(network.PCN(weights)).sum()))
