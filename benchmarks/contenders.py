"""The steps that are compared, each a function of (net, x, y) that returns the weight gradients and what it found."""

import functools

import torch

from benchmarks import reference, timing
from benchmarks.adapters import EULER_STEPS
from benchmarks.peers import Failed
from pcbook import inference, network


def backpropagation(net, x, y):
    """The baseline: one sweep up, one sweep down, no graph to build."""
    return network.backprop_gradients(net, x, y)


def autograd(net, x, y):
    """Backpropagation as most programs have it, to show that the baseline is no slower."""
    function = {"linear": lambda u: u, "tanh": torch.tanh, "relu": torch.relu}[net.activation]
    weights = [w.detach().requires_grad_() for w in net.weights]
    for w in weights[:-1]:
        x = function(torch.nn.functional.linear(x, w))
    loss = 0.5 * (y - torch.nn.functional.linear(x, weights[-1])).square().sum() / len(y)
    return torch.autograd.grad(loss, weights)


def solve(net, x, y, **arguments):
    """PC: (weight gradients at the equilibrium, the equilibrium)."""
    found = inference.solve(net, x, y, **arguments)
    return found.weight_gradients(), found


PATIENCE = 3.0  # seconds: a step that takes longer is warm after one call
SOLVERS = {
    "auto": solve,
    f"Euler, {EULER_STEPS} steps": functools.partial(solve, method="euler", max_iterations=EULER_STEPS),
}


def compare(net, x, y, solvers=SOLVERS, peers=(), rounds=30, budget=10.0, exact=True):
    """Rows of a table, one for each step: its times next to backpropagation's and the error it leaves.

    `peers` are running `peers.Peer`s; they get the same weights and batch. `exact=False` spares the reference.
    """
    rows, steps, ends = {}, {}, {}  # ends: the (gradients, activities) that a step arrived at last

    def seconds(step):
        return timing.seconds(lambda: step(net, x, y), net.device)

    def run(name, solver):
        found = ends[name] = []  # the last result is let go first, as backpropagation's is
        taken = timing.seconds(lambda: found.extend(solver(net, x, y)), net.device)
        return taken

    def ask(key, peer, setting):
        taken, *arrays = peer.step(setting, x.numpy(), y.numpy())
        ends[key] = [[torch.from_numpy(a.copy()) for a in part] for part in arrays]
        return taken

    if solvers is SOLVERS:
        rows["autograd"] = {"library": "torch", "method": "backpropagation by autograd"}
        steps["autograd"] = functools.partial(seconds, autograd)
    for name, solver in solvers.items():
        rows[name] = {"library": "pcbook", "method": name}
        steps[name] = functools.partial(run, name, solver)
    for peer in peers:
        for setting in peer.build(net.activation, [w.numpy() for w in net.weights]):
            key = f"{peer.name}, {setting}"
            rows[key] = {"library": peer.name, "method": setting}
            steps[key] = functools.partial(ask, key, peer, setting)
    for key in list(steps):  # whatever is compiled, searched or set up once happens now
        try:
            if steps[key]() < PATIENCE:
                steps[key]()
        except Failed as error:
            rows[key]["failed"] = str(error)
            del steps[key]
    for key, times in timing.interleaved(lambda: seconds(backpropagation), steps, rounds, budget).items():
        rows[key] |= times
    smooth = reference.equilibrium(net, x, y) if exact and net.activation != "relu" else None
    for key, (gradients, end) in ends.items():
        ours = key in solvers
        rows[key] |= details(end) if ours else {}
        rows[key] |= judge(net, x, y, gradients, end.activities if ours else end, smooth) if exact else {}
    return list(rows.values())


def details(found):
    """What the solver says of itself."""
    return {
        "residual": found.residual,
        "iterations": found.iterations,
        "converged": float(found.converged.double().mean()),
        "solvers": [list(item) for item in found.methods],
    }


def judge(net, x, y, gradients, activities, smooth=None):
    """The weight gradients' relative error, and the energy above the reference's, relative to it.

    `smooth` is the reference of a smooth network; without it, it is sought from the given activities.
    """
    wide = net.to(torch.float64)

    def energy(z):
        return float(network.energy(wide, [a.double() for a in z], x.double(), y.double()).sum())

    if not all(bool(torch.isfinite(g).all()) for g in gradients):
        return {"error": None, "failed": "not finite"}
    exact, z, residual = smooth or reference.equilibrium(net, x, y, activities)
    if not residual < 1e-6:  # of no use as a reference
        return {"error": None, "reference_residual": None}
    excess = energy(activities) / energy(z) - 1
    return {"error": reference.distance(gradients, exact), "energy_excess": excess, "reference_residual": residual}
