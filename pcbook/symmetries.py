"""Symmetries of a network's weights: maps of the hidden units that leave its function, and its energy, unchanged.

A unit can trade places with another of its layer, and, if φ is odd, change sign. Both act on a layer as a signed
permutation Q_l, and on the weights as W_l → Q_l W_l Q_{l−1}⁻¹. Torch.
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pcbook import checks, network
from pcbook.network import PCN

LIMIT = 100_000  # more networks than this are no enumeration but a wait


def transform(net: PCN, maps: list[Tensor]) -> PCN:
    """The network whose activities are Q_l z_l: W_l → Q_l W_l Q_{l−1}⁻¹, b_l → Q_l b_l. Precisions stay with the place.

    `maps` are the L−1 invertible matrices Q_l (n_l, n_l) of the hidden layers. Only where φ commutes with Q_l does the
    function stay: permutations always, sign flips if φ is odd, any Q_l if φ is linear. Raises `ValueError` for other
    shapes.
    """
    shapes = [(n, n) for n in net.sizes[1:-1]]
    if [tuple(q.shape) for q in maps] != shapes:
        raise ValueError(f"maps have shapes {[tuple(q.shape) for q in maps]}: must be {shapes}")
    ends = [torch.eye(n, dtype=net.dtype, device=net.device) for n in (net.sizes[0], net.sizes[-1])]
    q = [ends[0], *maps, ends[1]]
    pairs = zip(q[:-1], net.weights, q[1:], strict=True)
    weights = [above @ torch.linalg.solve(below, w, left=False) for below, w, above in pairs]
    biases = net.biases and [above @ b for above, b in zip(q[1:], net.biases, strict=True)]
    return PCN(weights, net.activation, biases, net.precisions)


def signed_permutations(n: int, dtype: torch.dtype = torch.float64) -> Iterator[Tensor]:
    """All n!·2ⁿ signed permutation matrices (n, n), the identity first."""
    for order in itertools.permutations(range(n)):
        for signs in itertools.product((1.0, -1.0), repeat=n):
            yield torch.diag(torch.tensor(signs, dtype=dtype))[:, list(order)]


def count(net: PCN, x: Tensor, y: Tensor, generator: int, tolerance: float = 1e-9) -> tuple[int, int, int]:
    """How many signed permutations of hidden units give another network with the same function, and the same energy.

    All Π n_l!·2^{n_l} are tried on the inputs `x` (B, n_0), and every network is counted once. The energy is compared
    at random activities z and Q z, so that equal energies mean equal equilibria. Returns (tried, same function, same
    energy). Raises `ValueError` for more than `LIMIT`.
    """
    tried = math.prod(math.factorial(n) * 2**n for n in net.sizes[1:-1])
    if tried > LIMIT:
        raise ValueError(f"net.sizes = {net.sizes} has {tried} signed permutations: must be at most {LIMIT}")
    choices = [list(signed_permutations(n, net.dtype)) for n in net.sizes[1:-1]]
    rand = torch.Generator().manual_seed(checks.count("generator", generator))
    z = [torch.randn(len(x), n, generator=rand, dtype=net.dtype) for n in net.sizes[1:-1]]
    output, energy = network.forward(net, x)[-1], network.energy(net, z, x, y)
    functions: set[tuple[float, ...]] = set()
    energies: set[tuple[float, ...]] = set()
    for maps in itertools.product(*choices):
        other = transform(net, list(maps))
        key = tuple(v for w in (*other.weights, *(other.biases or ())) for v in w.flatten().tolist())
        if torch.allclose(network.forward(other, x)[-1], output, rtol=tolerance, atol=tolerance):
            functions.add(key)
        moved = network.energy(other, [v @ q.t() for v, q in zip(z, maps, strict=True)], x, y)
        if torch.allclose(moved, energy, rtol=tolerance, atol=tolerance):
            energies.add(key)
    return tried, len(functions), len(energies)


def sign_patterns(net: PCN, x: Tensor, tolerance: float = 1e-9) -> int:
    """Of the 2^P ways to put signs on single weights, how many leave the function unchanged on `x`. For chains."""
    flat = [w.numel() for w in net.weights]
    if 2 ** sum(flat) > LIMIT:
        raise ValueError(f"net has {sum(flat)} weights, 2^{sum(flat)} patterns: must be at most {LIMIT}")
    output, same = network.forward(net, x)[-1], 0
    for signs in itertools.product((1.0, -1.0), repeat=sum(flat)):
        parts = torch.tensor(signs, dtype=net.dtype).split(flat)
        flipped = [w * s.reshape(w.shape) for w, s in zip(net.weights, parts, strict=True)]
        other = PCN(flipped, net.activation, net.biases)
        same += torch.allclose(network.forward(other, x)[-1], output, rtol=tolerance, atol=tolerance)
    return same
