"""Verdicts on deep linear networks (B1, B2, B3) and on the symmetries of weights (T6)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pcbook import intervals, linear_theory, network, onemlp, symmetries
from pcbook.intervals import Interval
from pcbook.network import PCN
from pcbook.proofs_linear import LINEAR
from pcbook.verdicts import PROVED, Verdict, measured


def judge_deep_linear_energy(seed: int, nets: int = 30) -> Verdict:
    """B1: does the closed form balance the forces and match the energy, on random nets of any shape?"""
    force, gap, rise = zip(*(_closed_form(net, x, y) for net, x, y in _nets(seed, nets)), strict=True)
    return _proved(
        measured(
            f"On {nets} random nets of depth 1 to 12 with biases and precisions the largest force left is "
            f"{max(force):.0e} of the largest one balanced, and the energies agree to {max(gap):.0e}.",
            **{
                "the closed form is the equilibrium": max(force) < 1e-9,
                "its energy is half of the residual's square in the metric S⁻¹": max(gap) < 1e-9,
                "which is at most the loss": max(rise) <= 1e-12,
            },
        ),
        "deep-linear-energy",
    )


def _nets(seed: int, nets: int) -> Iterator[tuple[PCN, Tensor, Tensor]]:
    """Random linear nets with biases and precisions, and their batches."""
    rng = np.random.default_rng(seed)
    for _ in range(nets):
        sizes = [int(n) for n in rng.integers(1, 7, rng.integers(2, 14))]
        shapes = zip(sizes[:-1], sizes[1:], strict=True)
        weights = [torch.from_numpy(rng.normal(size=(n, m)) / np.sqrt(m)) for m, n in shapes]
        biases = [torch.from_numpy(rng.normal(size=n)) for n in sizes[1:]]
        precisions = [torch.from_numpy(np.exp(rng.normal(size=n))) for n in sizes[1:]]
        x, y = (torch.from_numpy(rng.normal(size=(4, n))) for n in (sizes[0], sizes[-1]))
        yield PCN(weights, "linear", biases, precisions), x, y


def _closed_form(net: PCN, x: Tensor, y: Tensor) -> tuple[float, float, float]:
    """The relative force and energy gap at the closed-form equilibrium, and ℱ*/ℒ − 1 at its largest."""
    z, energy = linear_theory.equilibrium(net, x, y), linear_theory.equilibrated_energy(net, x, y)
    errors = network.weigh(net, network.prediction_errors(net, z, x, y))
    left = network.activity_gradients(net, z, x, y) if z else [torch.zeros(1)]
    force = max(float(v.abs().max()) for v in left) / max(float(v.abs().max()) for v in errors)
    gap = float(((network.energy(net, z, x, y) - energy).abs() / energy).max())
    return force, gap, float((energy / network.loss(net, x, y) - 1).max())


def judge_origin(seed: int, depths: Sequence[int] = (2, 3, 5, 8)) -> Verdict:
    """B2: is the origin a strict saddle of ℱ* at every depth, and of ℒ at one hidden layer only?"""
    generator, flat, strict, lowest = torch.Generator().manual_seed(seed), {}, {}, {}
    for depth in depths:
        net = PCN([torch.zeros(3, 3, dtype=torch.float64)] * depth)
        x, y = torch.randn(2, 20, 3, generator=generator, dtype=torch.float64)
        loss, energy = linear_theory.origin_hessians(net, x, y)
        flat[depth] = not loss.any()
        lowest[depth] = float(torch.linalg.eigvalsh(energy)[0])
        strict[depth] = float(-torch.linalg.eigvalsh(y.t() @ y / len(y))[-1])
    deep = [depth for depth in depths if depth > 2]
    shown = ", ".join(f"−{-lowest[depth]:.2f} (L = {depth})" for depth in depths)
    return _proved(
        measured(
            f"Smallest eigenvalue of the energy's Hessian at the origin on random data: {shown}.",
            **{
                "strict for the energy at every depth": all(value < 0 for value in lowest.values()),
                "beyond one hidden layer it is minus the largest eigenvalue of ⟨y yᵀ⟩": np.allclose(
                    [lowest[d] for d in deep], [strict[d] for d in deep]
                ),
                "the loss has a Hessian of zero there": all(flat[d] for d in deep) and not flat[2],
            },
        ),
        "deep-origin-strict",
        "deep-saddles-are-strict",
    )


# n = 24 L: "width past depth" by any reading. Name -> (scheme, skips).
ENSEMBLES = {
    "μPC with skips": ("mupc", True),
    "μPC without skips": ("mupc", False),
    "PyTorch's default": ("default", False),
    "orthogonal": ("orthogonal", False),
    "He": ("he", False),
}
BATCH = 8


def _compare(sizes: Sequence[int], kind: tuple[str, bool], draws: int, generator: torch.Generator) -> list[Interval]:
    """Intervals of ℱ*/ℒ and of the angle between the gradients, over random nets and batches."""
    found = []
    for _ in range(draws):
        net = linear_theory.random_net(sizes, generator, *kind)
        x, y = (torch.randn(BATCH, n, generator=generator, dtype=torch.float64) for n in (sizes[0], sizes[-1]))
        found.append(linear_theory.against_backprop(net, x, y))
    return [intervals.mean(values) for values in zip(*found, strict=True)]


def judge_wide_limit(seed: int, width: int = 192, depth: int = 8, draws: int = 6) -> Verdict:
    """B3: where width is far past depth, are the energies, and the gradients, of PC and BP the same?"""
    generator, sizes = torch.Generator().manual_seed(seed), [width] * depth + [10]
    found = {name: _compare(sizes, kind, draws, generator) for name, kind in ENSEMBLES.items()}
    listed = "; ".join(f"{name} {ratio} and {angle}°" for name, (ratio, angle) in found.items())
    parts = {f"{name}: equal energies (within 10 %)": ratio.low > 0.9 for name, (ratio, _) in found.items()}
    parts |= {f"{name}: equal directions (within 20°)": angle.high < 20 for name, (_, angle) in found.items()}
    evidence = (
        f"ℱ*/ℒ and the angle between their gradients at width {width} and depth {depth}, batches of {BATCH}: {listed}."
    )
    return measured(evidence, **parts)


def judge_symmetries(seed: int) -> Verdict:
    """T6: how many sign flips and permutations leave function and energy unchanged, and does each bring a saddle?"""
    chains = {
        a: [symmetries.sign_patterns(*_chain(h, a, seed)) for h in range(1, 6)] for a in ("linear", "tanh", "relu")
    }
    powers = [2**hidden for hidden in range(1, 6)]
    sizes = [1, 2, 2, 2]
    wide = {a: symmetries.count(*_wide(sizes, a, seed), generator=seed) for a in chains}
    outputs, saddles = _output_symmetries(*_wide(sizes, "tanh", seed)[:2]), len(_saddles(seed))
    return measured(
        f"Chains with 1 to 5 hidden units have {chains['tanh']} sign symmetries (tanh), with ReLU {chains['relu']}. "
        f"Of the {'-'.join(map(str, sizes))} net's {wide['tanh'][0]} signed permutations {wide['tanh'][1]} keep its "
        f"function and {wide['tanh'][2]} its energy (tanh), with ReLU {wide['relu'][1]} and {wide['relu'][2]}. "
        f"The 1MLP has {chains['linear'][0]} symmetries and {saddles} saddle.",
        **{
            "chains: 2 to the number of hidden units (linear, tanh)": chains["linear"] == chains["tanh"] == powers,
            "ReLU chains: none": chains["relu"] == [1] * 5,
            "wide: n!·2ⁿ for every hidden layer": wide["linear"][1] == wide["tanh"][1] == wide["linear"][0] == 64,
            "the energy has the same ones (our test)": all(function == energy for _, function, energy in wide.values()),
            "as printed, with the last of L weight layers counted": wide["tanh"][1] * outputs == 64 * 8,
            "each symmetry comes with a saddle": saddles >= chains["linear"][0],
        },
    )


def _chain(hidden: int, activation: str, seed: int) -> tuple[PCN, Tensor]:
    rng = np.random.default_rng(seed)
    weights = [torch.from_numpy(rng.uniform(0.5, 1.5, (1, 1))) for _ in range(hidden + 1)]
    return PCN(weights, activation), torch.from_numpy(rng.normal(size=(10, 1)))


def _wide(sizes: Sequence[int], activation: str, seed: int) -> tuple[PCN, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    shapes = zip(sizes[:-1], sizes[1:], strict=True)
    weights = [torch.from_numpy(rng.uniform(0.5, 1.5, (n, m))) for m, n in shapes]
    biases = [torch.from_numpy(rng.uniform(0.5, 1.5, n)) for n in sizes[1:]]
    x, y = (torch.from_numpy(rng.normal(size=(10, n))) for n in (1, sizes[-1]))
    return PCN(weights, activation, biases), x, y


def _output_symmetries(net: PCN, x: Tensor) -> int:
    """How many signed permutations of the output units leave the outputs as they are."""
    output = network.forward(net, x)[-1]
    return sum(torch.allclose(output @ q.t(), output) for q in symmetries.signed_permutations(output.shape[1]))


def _saddles(seed: int, starts: int = 100, steps: int = 60) -> set[tuple[float, ...]]:
    """The critical points of the 1MLP's loss that are no minima (Eq. 11), by Newton's method from random starts."""
    w = np.random.default_rng(seed).normal(size=(starts, 2))
    for _ in range(steps):
        inverse = np.linalg.pinv(onemlp.loss_hessian(*w.T, 1.0, -1.0), rcond=1e-9, hermitian=True)
        w = w - (inverse @ onemlp.loss_gradient(*w.T, 1.0, -1.0)[..., None])[..., 0]
    critical = np.linalg.norm(onemlp.loss_gradient(*w.T, 1.0, -1.0), axis=-1) < 1e-9
    return {tuple(point) for point in np.round(w[critical & (onemlp.loss(*w.T, 1.0, -1.0) > 1e-6)], 4) + 0.0}


def _proved(verdict: Verdict, *names: str) -> Verdict:
    """The verdict of measurements beside theorems: proved, if every step checks and every measurement agrees."""
    steps = [f"{name} ({len(LINEAR[name].prove())} steps)" for name in names]
    agreed = all(verdict.parts.values())
    return replace(
        verdict,
        outcome=PROVED if agreed else verdict.outcome,
        evidence=f"Checked: {', '.join(steps)}. {verdict.evidence}",
    )
