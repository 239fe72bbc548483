"""Where a solver ends. Torch."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pcbook import network


@dataclass(frozen=True, eq=False)
class State:
    """Where a solver ended, for a batch.

    `inputs` are z_0 … z_{L−1}, `errors` e_1 … e_{L−1}, `output` u_L. `deltas` are the local factors of the weight
    gradients: δ_l = φ′(u_l) ⊙ Π_l e_l for l < L (at a kink: the subgradient that holds the unit there) and
    δ_L = λ, the solver's value of Π_L (y − u_L).
    """

    inputs: list[Tensor]
    errors: list[Tensor]
    output: Tensor
    deltas: list[Tensor]

    def select(self, rows: Tensor) -> "State":
        """The same for some samples."""
        lists = ([v[rows] for v in part] for part in (self.inputs, self.errors, [self.output], self.deltas))
        inputs, errors, (output,), deltas = lists
        return State(inputs, errors, output, deltas)

    def put(self, rows: Tensor, other: "State") -> "State":
        """The same, its tensors changed in place, with some samples from another state; x stays."""
        own, new = ([*s.inputs[1:], *s.errors, s.output, *s.deltas] for s in (self, other))
        for a, b in zip(own, new, strict=True):
            a[rows] = b
        return self

    def replace(self, rows: Tensor, other: "State") -> "State":
        """The same with some samples from another state."""
        keep = torch.ones(len(self.output), dtype=torch.bool, device=rows.device)
        keep[rows] = False
        return merge([(keep.nonzero().squeeze(1), self.select(keep)), (rows, other)])


def merge(pieces: list[tuple[Tensor, State]]) -> State:
    """One `State` from [(rows, State), …] that share out the rows of a batch."""
    if len(pieces) == 1:
        return pieces[0][1]
    order = torch.cat([rows for rows, _ in pieces]).argsort()

    def join(tensors: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
        return torch.cat(tensors)[order]

    states = [state for _, state in pieces]
    lists = ([join(v) for v in zip(*(getattr(s, name) for s in states), strict=True)] for name in ("inputs", "errors"))
    inputs, errors = lists
    deltas = [join(v) for v in zip(*(s.deltas for s in states), strict=True)]
    return State(inputs, errors, join([s.output for s in states]), deltas)


def noise(net: network.PCN, y: Tensor, output: Tensor) -> Tensor:
    """What the dtype cannot tell from zero in a sample's weighted output error, (B,): sums of Σ n_l terms round off."""
    size = torch.linalg.vector_norm(network.weigh_layer(net, -1, y.abs() + output.abs()), dim=1)
    return (2 * torch.finfo(y.dtype).eps * math.sqrt(sum(net.sizes)) * size).clamp_min(torch.finfo(y.dtype).tiny)
