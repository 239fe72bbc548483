"""Linear networks: the equilibrium in closed form, and its weight gradients for less than backpropagation's price."""

from collections.abc import Callable

import torch
from torch import Tensor

from pcbook import network
from pcbook.inference.response import Response
from pcbook.inference.state import State


def solve(
    net: network.PCN, x: Tensor, y: Tensor, response: Response
) -> tuple[Tensor, Callable[[], State], Callable[[], network.Gradients]]:
    """λ = S⁻¹ (y − u_L) at the feedforward pass, where u_L = x J_0ᵀ + Σ_l J_l b_l.

    Returns u_L and the two functions that an `Equilibrium` holds, for the state and for the gradients. Every
    product here is n_L rows wide; no activity is formed unless somebody asks for the state.
    """
    adjoint = response.adjoint.split(net.sizes[1:-1], dim=1)
    output = x @ (adjoint[0] @ net.weights[0]).t()
    if net.biases is not None:
        output = output + response.adjoint @ torch.cat(net.biases[:-1]) + net.biases[-1]
    values, vectors = torch.linalg.eigh(response.scale.double())
    values = values.clamp_min(network.unweigh_output(net, torch.ones_like(y[0])).min())  # S ⪰ Π_L⁻¹, round-off or not
    lam = ((y - output).double() @ vectors / values @ vectors.t()).to(x.dtype)

    def form() -> State:
        mu = [lam @ j for j in adjoint]
        errors = network.unweigh(net, mu)
        state = network.sweep(net, x, errors)
        return State(state.inputs, errors, state.output, [*mu, lam])

    return output, form, lambda: gradients(net, x, lam, adjoint)


def gradients(net: network.PCN, x: Tensor, lam: Tensor, adjoint: list[Tensor]) -> network.Gradients:
    """∂F/∂W_l = −J_lᵀ A_{l−1} with the moments A_l = λᵀz_l / B, which climb the layers without the activities:

    A_0 = λᵀx / B and A_l = A_{l−1} W_lᵀ + (Σλ / B) b_lᵀ + (λᵀλ / B) J_l Π_l⁻¹. J_L is the identity.
    """
    batch = len(x)
    mean, square, moment = lam.sum(0) / batch, lam.t() @ lam / batch, lam.t() @ x / batch
    weights = []
    for l, (j, e) in enumerate(zip(adjoint, network.unweigh(net, adjoint), strict=True)):
        weights.append(-j.t() @ moment)
        moment = torch.addmm(square @ e, moment, net.weights[l].t())
        if net.biases is not None:
            moment = moment + torch.outer(mean, net.biases[l])
    biases = net.biases and [*(-(mean @ j) for j in adjoint), -mean]
    return network.Gradients([*weights, -moment], biases)
