"""Small measurements behind the chapter on the cost of inference: errors, counted multiplications, ablations. Torch."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pcbook import data, inference, network, records, taylor

CLASSES, PIXELS = 10, 64
RECORDS = Path(__file__).parent.parent.parent / "book" / "records"


def recorded(name: str) -> dict[str, Any]:
    """A record in book/records, its digest verified: "inference-cost" or "inference-scaling"."""
    return records.load(RECORDS / f"{name}.json")


@functools.cache
def _images() -> tuple[Tensor, Tensor]:
    train, _ = data.digits()
    x = data.standardised(train.images, dtype=np.float64)
    y = data.one_hot(train.labels, CLASSES, dtype=np.float64)
    return torch.from_numpy(x), torch.from_numpy(y)


def batch(size: int = 16, start: int = 0) -> tuple[Tensor, Tensor]:
    """`size` digits of 8 × 8 pixels, standardised, and their one-hot labels: (B, 64) and (B, 10), float64."""
    x, y = _images()
    return x[start : start + size], y[start : start + size]


def digits_net(activation: str, seed: int, depth: int = 10, width: int = 100) -> network.PCN:
    """A network for them with `depth` hidden layers, PyTorch's default weights and no biases, float64."""
    sizes = [PIXELS, *[width] * depth, CLASSES]
    return network.PCN(network.init_weights(sizes, seed, dtype=torch.float64), activation)


def train(net: network.PCN, updates: int, rate: float, size: int = 64) -> network.PCN:
    """`net` after PC updates of its weights, in place, on consecutive batches of the digits."""
    for k in range(updates):
        x, y = batch(size, k * size % (len(_images()[0]) - size))
        for w, g in zip(net.weights, pc_step(net, x, y), strict=True):
            w.sub_(g, alpha=rate)
    return net


def weight_error(gradients: Iterable[Tensor], reference: Iterable[Tensor]) -> float:
    """‖g − g*‖ / ‖g*‖, all layers together."""
    g, exact = (torch.cat([part.flatten() for part in parts]).double() for parts in (gradients, reference))
    return float((g - exact).norm() / exact.norm())


def pc_step(net: network.PCN, x: Tensor, y: Tensor, **arguments: Any) -> list[Tensor]:
    """The weight gradients at the equilibrium. `arguments` go to `inference.solve`."""
    return inference.solve(net, x, y, **arguments).weight_gradients()


def passes(step: Callable[..., object], net: network.PCN, x: Tensor, y: Tensor) -> float:
    """The multiplications in the matrix products of `step(net, x, y)`, as a multiple of backpropagation's.

    Additions come with them one by one. Elementwise functions and the factorisation of S are not counted.
    """
    return _multiplications(step, net, x, y) / _multiplications(network.backprop, net, x, y)


def euler_passes(net: network.PCN, x: Tensor, y: Tensor, steps: int) -> float:
    """The same for `pc_step` with `steps` Euler steps, from its first two."""
    one, two = (passes(functools.partial(pc_step, method="euler", max_iterations=n), net, x, y) for n in (1, 2))
    return one + (steps - 1) * (two - one)


def _multiplications(step: Callable[..., object], *arguments: Any) -> float:
    with FlopCounterMode(display=False) as counter:
        step(*arguments)
    return counter.get_total_flops() / 2


def chain_spectrum(depth: int, weight: float) -> np.ndarray:
    """Eigenvalues of ∂²F/∂z² in a linear net whose `depth` hidden layers and output have weights w · orthogonal.

    λ_k = 1 + w² − 2w cos(πk/(N + 1)), k = 1 … N, unit precisions: a chain of springs with both ends held.
    """
    k = np.arange(1, depth + 1)
    return 1 + weight**2 - 2 * weight * np.cos(np.pi * k / (depth + 1))


def linear_euler(net: network.PCN, x: Tensor, y: Tensor, steps: int, step_size: float = 0.1) -> list[Tensor]:
    """[z_1, …] after Euler steps from the feedforward pass in a linear net: z* + (1 − ηH)^T (z_t − z*)."""
    hessian = taylor.fisher(net, x[:1])[0]
    exact = torch.cat(inference.solve(net, x, y).activities, dim=1)
    start = torch.cat(network.forward(net, x)[:-1], dim=1)
    power = torch.linalg.matrix_power(torch.eye(len(hessian), dtype=x.dtype) - step_size * hessian, steps)
    return list((exact + (start - exact) @ power).split(net.sizes[1:-1], dim=1))


VARIANTS = {
    "repeat": (False, False, False),
    "solve with S": (True, False, False),
    "and anticipate the lag": (True, True, False),
    "and predict": (True, True, True),
}


def fixed_point(
    net: network.PCN, x: Tensor, y: Tensor, iterations: int, solve: bool = True, lag: bool = True, predict: bool = True
) -> list[list[Tensor]]:
    """Weight gradients after each iteration of the fixed point in λ, with its three devices on or off.

    For smooth nonlinear networks without biases and precisions; no Broyden updates.
    """
    start = network.sweep(net, x)
    slope, function = network.ACTIVATIONS[net.activation].slope, network.ACTIVATIONS[net.activation].function
    first = cast(list[Tensor], start.slopes)  # None only in linear networks
    mean = [s.mean(0) for s in first]
    eye = torch.eye(net.sizes[-1], dtype=x.dtype)
    jacobians = network.adjoint(net, mean, eye)  # J_l at the batch's mean slopes
    inverse = torch.linalg.inv(eye + sum(j @ j.t() for j in jacobians)) if solve else eye
    lifts, moved = [torch.zeros_like(jacobians[0])], jacobians[0]  # δu_l = λ U_l
    for w, d, j in zip(net.weights[1:-1], mean[1:], jacobians[1:], strict=True):
        lifts.append(moved @ w.t())
        moved = lifts[-1] * d + j
    lam, slopes = (y - start.output) @ inverse, first
    if predict:
        bend, slopes = torch.zeros_like(y), []
        for u, h, s, m, j, lift in zip(
            start.preactivations, start.inputs[1:], first, mean, jacobians, lifts, strict=True
        ):
            shift, mu = lam @ lift, lam @ j
            after = function(u + shift)
            slopes.append(cast(Tensor, slope(u + shift, after)) if bool(lift.any()) else s)
            bend = bend + (after - h - shift * m) @ j.t() + (mu * (slopes[-1] - m)) @ lift.t()
        lam = lam - bend @ inverse
    found = []
    for _ in range(iterations):
        mu, deltas = network.backward(net, slopes, lam)
        state = network.sweep(net, x, mu)
        slopes = cast(list[Tensor], state.slopes)
        settled = [m * s for m, s in zip(mu, slopes, strict=True)]
        found.append([-(d.t() @ z) / len(x) for d, z in zip([*settled, lam], state.inputs, strict=True)])
        gap = y - state.output - lam
        if lag:
            gap = gap - sum((a - b) @ u.t() for a, b, u in zip(settled, deltas[:-1], lifts, strict=True))
        lam = lam + gap @ inverse
    return found
