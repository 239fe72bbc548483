"""The ledger: what the paper claims, where the book treats it, what computes it, what tests it, who judges it."""

import importlib
from dataclasses import dataclass, replace

from pcbook import verdicts
from pcbook.verdicts import CORRECTED, Judge, Verdict, proved


@dataclass(frozen=True)
class Claim:
    """One row of the ledger. `says` is a paraphrase; `chapter` a page of the book, `function` and `test` names."""

    id: str
    source: str
    says: str
    chapter: str
    function: str
    test: str
    judge: Judge

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id of the paper's parts in this row: E8, E9 and E10 for "E8–E10"."""
        return tuple(one for part in self.id.split(", ") for one in _expanded(part))

    @property
    def anchor(self) -> str:
        """The label of the place in `chapter` that treats the claim: "claim-e11" for "E11–E13"."""
        return "claim-" + self.ids[0].replace(".", "").replace("′", "prime").replace(" ", "-").lower()

    @property
    def part(self) -> str:
        """Which part of the paper makes the claim, or that it is ours: a value of `PARTS`."""
        return PARTS[self.id[0]]


PARTS = {
    "E": "equation",
    "A": "theorem",
    "F": "figure",
    "T": "statement in the text",
    "C": "left open by the paper",
    "B": "beyond the paper",
}


def _expanded(part: str) -> list[str]:
    first, _, last = part.partition("–")
    return [f"E{n}" for n in range(int(first[1:]), int(last[1:]) + 1)] if last else [first]


def later(module: str, name: str) -> Judge:
    """The judge `pcbook.<module>.<name>`, imported when it is asked: judges of deep networks bring torch along."""
    return lambda seed: getattr(importlib.import_module(f"pcbook.{module}"), name)(seed)


def row(claim_id: str) -> Claim:
    """The `Claim` whose id is `claim_id` or holds it: "E9" is in "E8–E10". `ValueError` for an unknown id."""
    claim = CLAIMS.get(claim_id) or next((claim for claim in _ROWS if claim_id in claim.ids), None)
    if claim is None:
        raise ValueError(f"claim_id = {claim_id!r}: must be one of {', '.join(CLAIMS)}")
    return claim


def verdict(claim_id: str, seed: int = 0) -> Verdict:
    """The verdict on `row(claim_id)`, computed now from `seed`. `ValueError` for an unknown id."""
    claim = row(claim_id)
    return replace(claim.judge(seed), function=claim.function)


_ROWS = [
    # id, source, says, chapter, function, test, judge
    Claim(
        "E1, E20",
        "Eqs. 1, 20",
        "The free energy is a precision-weighted sum of squared prediction errors; Eq. 20 fixes the output's "
        "precision. (Proved for one hidden unit; checked numerically for more layers.)",
        "free-energy",
        "onemlp.energy",
        "test_proofs.py::test_theorem_proves",
        proved("free-energy"),
    ),
    Claim(
        "E2, E3",
        "Eqs. 2, 3",
        "Inference has one equilibrium, and the local weight step taken there descends the equilibrated energy. "
        "(On the 1MLP.)",
        "free-energy",
        "onemlp.euler_inference",
        "test_onemlp.py::test_euler_inference_multiplies_the_distance_by_the_contraction",
        proved("equilibrium", "envelope"),
    ),
    Claim(
        "E4",
        "Eq. 4",
        "Gradient descent and damped Newton are trust-region steps. (The quadratic model is printed "
        "without the ½ that its printed solution needs.)",
        "trust-regions",
        "trust_region.step",
        "test_trust_region.py::test_damped_newton_is_the_step_whose_multiplier_is_one_over_alpha",
        proved("gd-as-trust-region", "damped-newton", outcome=CORRECTED),
    ),
    Claim(
        "E5, E6, E21–E23",
        "Eqs. 5, 6, 21–23",
        "To second order inference solves a trust-region problem on the loss, with the Fisher information as its "
        "geometry. (On the 1MLP exactly.)",
        "trust-regions",
        "onemlp.equilibrium",
        "test_proofs.py::test_theorem_proves",
        proved("taylor-identity"),
    ),
    Claim(
        "E7, E24, E25",
        "Eqs. 7, 24, 25",
        "The weight gradient at the equilibrium is the loss gradient plus a trust-region "
        "direction. (On the 1MLP, for w₁, it is the trust-region direction alone; for w₂ a term is missing.)",
        "trust-regions",
        "onemlp.equilibrated_energy_gradient",
        "test_proofs.py::test_theorem_proves",
        proved("eq7-on-1mlp", outcome=CORRECTED),
    ),
    Claim(
        "E8–E10",
        "Eqs. 8–10",
        "The closest solution is a root of a quartic.",
        "which-way",
        "onemlp.closest_solution",
        "test_onemlp.py::test_closest_solution_equals_the_multiplier_oracle",
        proved("closest-solution"),
    ),
    Claim(
        "E11–E13",
        "Eqs. 11–13",
        "At the equilibrium the energy is the loss divided by 1 + w₂².",
        "landscape",
        "onemlp.equilibrated_energy",
        "test_onemlp.py::test_equilibrium_minimises_the_energy",
        proved("equilibrated-energy"),
    ),
    Claim(
        "E14, E15",
        "Eqs. 14, 15",
        "The Hessians of loss and equilibrated energy at the origin.",
        "saddle-and-minima",
        "onemlp.equilibrated_energy_hessian",
        "test_onemlp.py::test_derivatives_equal_autograd",
        proved("loss-hessian-origin", "energy-hessian-origin"),
    ),
    Claim(
        "E16",
        "Eq. 16",
        "Both eigenvalues of the equilibrated energy's Hessian at the origin lie below the loss's.",
        "saddle-and-minima",
        "onemlp.equilibrated_energy_hessian",
        "test_proofs.py::test_theorem_proves",
        proved("eigenvalues"),
    ),
    Claim(
        "E17–E19",
        "Eqs. 17–19",
        "Near the saddle each eigenvector's share of the weights grows or shrinks at its own "
        "rate. (The exponent of the flow is printed without its minus sign.)",
        "saddle-and-minima",
        "onemlp.linear_flow",
        "test_onemlp.py::test_linear_dynamics_equal_the_matrix_formulas",
        proved("gd-near-saddle", "flow", outcome=CORRECTED),
    ),
    Claim(
        "A.3",
        "Theorem A.3",
        "Gradient descent on the equilibrated energy escapes the origin faster than on the loss. (Proved for the "
        "escape rates of the quadratic model; single starts may differ.)",
        "saddle-and-minima",
        "onemlp.equilibrated_energy_hessian",
        "test_onemlp.py::test_the_saddle_of_the_energy_is_the_easier_one_to_escape",
        proved("saddle-escape"),
    ),
    Claim(
        "A.4",
        "Theorem A.4",
        "The minima of the equilibrated energy are flatter than the loss's.",
        "saddle-and-minima",
        "onemlp.equilibrated_energy_hessian",
        "test_onemlp.py::test_the_minima_of_the_energy_are_flatter",
        proved("critical-points", "flat-minima"),
    ),
    Claim(
        "F1",
        "Fig. 1, Section 3",
        "PC evades the saddle and takes a more direct path to the closest solutions.",
        "landscape",
        "experiments.toy.training",
        "test_toy.py::test_training_follows_descent_step_by_step",
        verdicts.judge_landscape,
    ),
    Claim(
        "F2",
        "Fig. 2, Section 3",
        "PC's update points much closer and more reliably to the closest solution than BP's, and is closer to "
        "a trust-region Newton step.",
        "which-way",
        "experiments.toy.alignment",
        "test_toy.py::test_alignment_at_the_first_batch_is_the_cosine_at_the_start",
        verdicts.judge_alignment,
    ),
    Claim(
        "F5",
        "Fig. 5",
        "The continuous flow near saddle and minimum: PC leaves the one faster and nears the other "
        "more slowly, and the flow describes the stochastic updates well.",
        "saddle-and-minima",
        "onemlp.linear_flow",
        "test_onemlp.py::test_linear_dynamics_equal_the_matrix_formulas",
        verdicts.judge_flows,
    ),
    Claim(
        "F6",
        "Fig. 6, Section 3",
        "After training, PC's predictions are more robust to noise on the weights.",
        "saddle-and-minima",
        "onemlp.perturbed_error",
        "test_onemlp.py::test_perturbed_error_equals_gauss_hermite_quadrature",
        verdicts.judge_robustness,
    ),
    Claim(
        "F8",
        "Fig. 8",
        "Inference turns the loss landscape into the equilibrated energy within 10 steps.",
        "landscape",
        "onemlp.euler_inference",
        "test_onemlp.py::test_euler_inference_multiplies_the_distance_by_the_contraction",
        verdicts.judge_inference_landscape,
    ),
    Claim(
        "F9",
        "Fig. 9, Section 6",
        "γ = 2 recovers BP and γ = ½ recovers target propagation.",
        "precision-ratio",
        "onemlp.target_propagation_loss",
        "test_onemlp.py::test_limits_of_the_algorithms",
        verdicts.judge_precision_ratio,
    ),
    Claim(
        "T1",
        "Appendix A.1",
        "Twenty inference steps of η = 0.1 are enough to reach the equilibrium.",
        "free-energy",
        "experiments.toy.inference_error",
        "test_toy.py::test_inference_error_is_the_contraction_to_the_power_of_steps_for_w1",
        verdicts.judge_inference_steps,
    ),
    Claim(
        "T2",
        "Section 3",
        "PC slows down near a minimum. (At the same learning rate.)",
        "landscape",
        "experiments.toy.training",
        "test_toy.py::test_training_follows_descent_step_by_step",
        verdicts.judge_slowdown,
    ),
    Claim(
        "C2",
        "Appendix A.1",
        "Whether 0.1 in N(1, 0.1) is the standard deviation or the variance does not change how PC compares with BP in "
        "Fig. 2. (Ours.)",
        "which-way",
        "data.toy_batches",
        "test_toy.py::test_toy_batches_have_the_stated_moments_and_slope",
        verdicts.judge_spread,
    ),
    Claim(
        "E5 deep",
        "Eqs. 5, 21, 22",
        "Around the feedforward pass the energy is the loss plus a linear and a quadratic term whose matrix is the "
        "Fisher information. (The joint one of activities and target, and exactly, for a linear read-out; that of "
        "p(y | z), which the text names, is singular in deep networks.)",
        "deep-trust-region",
        "taylor.fisher",
        "test_taylor.py::test_at_the_feedforward_pass_the_hessian_is_the_fisher_information",
        later("verdicts_taylor", "judge_expansion"),
    ),
    Claim(
        "E6 deep",
        "Eqs. 6, 23",
        "The inference equilibrium is the solution of the trust-region problem. (To first order in the residual; "
        "exactly in linear networks and with one hidden layer.)",
        "deep-trust-region",
        "taylor.inference_step",
        "test_taylor.py::test_elsewhere_the_steps_error_is_first_order",
        later("verdicts_taylor", "judge_step"),
    ),
    Claim(
        "E7 deep",
        "Eqs. 7, 24, 25",
        "The weight gradient at the equilibrium is the loss gradient plus a trust-region direction. (In deep networks "
        "too it is not, however small the residual; Eq. 24 loses a term.)",
        "deep-trust-region",
        "taylor.printed_gradients",
        "test_taylor.py::test_its_error_falls_with_the_residual_and_the_printed_ones_does_not",
        later("verdicts_taylor", "judge_printed_update"),
    ),
    Claim(
        "E7′",
        "for Eq. 7",
        "The weight gradient at the equilibrium is the loss gradient at the trust-region solution: backpropagation "
        "with S⁻¹r in the place of the output error. (Ours; to first order in the residual.)",
        "deep-trust-region",
        "taylor.corrected_gradients",
        "test_taylor.py::test_its_error_falls_with_the_residual_and_the_printed_ones_does_not",
        later("verdicts_taylor", "judge_corrected_update"),
    ),
    Claim(
        "B1",
        "Beyond the paper",
        "In a linear network of any depth the equilibrated energy is the loss in another metric. (Innocenti et al. "
        "2024; ours for biases and precisions.)",
        "deep-linear-networks",
        "linear_theory.equilibrated_energy",
        "test_linear_theory.py::test_equilibrium_and_energy_equal_dense_least_squares",
        later("verdicts_linear", "judge_deep_linear_energy"),
    ),
    Claim(
        "B2",
        "Beyond the paper",
        "The origin is a strict saddle of the equilibrated energy at every depth; for the loss it is one with a single "
        "hidden layer only. (Innocenti et al. 2024; for chains we prove that all saddles are strict.)",
        "deep-linear-networks",
        "linear_theory.origin_hessians",
        "test_linear_theory.py::test_origin_hessians_equal_autograd",
        later("verdicts_linear", "judge_origin"),
    ),
    Claim(
        "B3",
        "Beyond the paper",
        "PC turns into BP as width grows past depth. (Innocenti et al. 2025, for residual networks in the μPC scaling; "
        "we ask it of other initial weights too.)",
        "deep-linear-networks",
        "linear_theory.expected_output_scale",
        "test_linear_theory.py::test_expected_scale_is_the_mean_over_draws",
        later("verdicts_linear", "judge_wide_limit"),
    ),
    Claim(
        "T6",
        "Section 4",
        "Linear and tanh chains have 2^L sign symmetries, wide networks Π n_l!·2^{n_l} with permutations, and as many "
        "saddles; ReLU breaks the flips. (Right for hidden layers; saddles are not as many.)",
        "deep-linear-networks",
        "symmetries.count",
        "test_symmetries.py::test_counts_are_those_of_the_hidden_units",
        later("verdicts_linear", "judge_symmetries"),
    ),
    Claim(
        "T3",
        "Section 6",
        "PC's inference costs orders of magnitude more than BP. (True of the paper's schedule; a solver shows what of "
        "it is inherent.)",
        "cost-of-inference",
        "inference.solve",
        "test_inference.py::test_euler_is_the_papers_schedule",
        later("verdicts_inference", "judge_expensive"),
    ),
    Claim(
        "T4",
        "Appendix A.5",
        "A thousand inference steps rule out insufficient inference in ten hidden layers. (We ask for weight gradients "
        "within 1 % of the equilibrium's.)",
        "cost-of-inference",
        "inference.solve",
        "test_inference.py::test_euler_is_not_called_converged_before_it_is",
        later("verdicts_inference", "judge_sufficient"),
    ),
    Claim(
        "B4",
        "Beyond the paper",
        "The equilibrium costs a few backward passes, through a fixed point as small as the output. (Ours.)",
        "cost-of-inference",
        "inference.solve",
        "test_inference.py::test_smooth_gradients_are_accurate_to_rtol",
        later("verdicts_inference", "judge_affordable"),
    ),
    Claim(
        "F3",
        "Fig. 3, Section 5.1",
        "PC trains deeper chains significantly faster than BP, for linear, tanh and ReLU units. (We compare the steps "
        "to the threshold seed by seed, at 5 and 10 hidden layers.)",
        "deep-chains",
        "chains.train",
        "test_chains.py::test_training_is_the_plain_loop",
        later("verdicts_chains", "judge_faster"),
    ),
    Claim(
        "F7",
        "Fig. 7, Section 5.1",
        "Test losses do not differ significantly from training losses. (On chains.)",
        "deep-chains",
        "chains.train",
        "test_deep_chains.py::test_curves_are_those_of_the_rates_that_figures_pick",
        later("verdicts_chains", "judge_test_losses"),
    ),
    Claim(
        "T5",
        "Section 5.1",
        "Neither BP nor PC can train chains of 15 hidden layers. (We ask whether they train less than half of them.)",
        "deep-chains",
        "chains.train",
        "test_chains.py::test_training_is_the_plain_loop",
        later("verdicts_chains", "judge_untrainable"),
    ),
    Claim(
        "C1",
        "Our question",
        "PC is the faster one on deep chains however the two losses are scaled. (The paper does not say how they "
        "were.)",
        "deep-chains",
        "experiments.deep_chains.grid",
        "test_deep_chains.py::test_the_grid_holds_the_paper_s_rates_and_two_decades_more",
        later("verdicts_chains", "judge_scaling"),
    ),
    Claim(
        "C2 deep",
        "Our question",
        "PC is the faster one on deep chains whether 0.1 is the inputs' standard deviation or their variance.",
        "deep-chains",
        "data.toy_batches",
        "test_deep_chains.py::test_inputs_are_those_of_the_paper_and_the_same_for_every_activation",
        later("verdicts_chains", "judge_reading"),
    ),
    Claim(
        "C3",
        "Our question",
        "PC is the faster one on deep chains beyond the edge of the grid of learning rates, and between its points.",
        "deep-chains",
        "experiments.deep_chains.best",
        "test_deep_chains.py::test_the_best_rate_follows_the_criterion",
        later("verdicts_chains", "judge_grid"),
    ),
    Claim(
        "C4",
        "Our question",
        "PC is the faster one on deep chains when the rule against plateaus is off.",
        "deep-chains",
        "chains.train",
        "test_chains.py::test_the_plateau_rule_watches_means_of_blocks",
        later("verdicts_chains", "judge_plateau_rule"),
    ),
    Claim(
        "F4",
        "Fig. 4, Section 5.2",
        "Networks of ten hidden layers with 500 units learn MNIST in fewer updates with PC than with BP, whether "
        "linear, tanh or ReLU.",
        "deep-and-wide-networks",
        "experiments.deep_wide.run",
        "test_deep_wide.py::test_real_mnist_trains_as_recorded",
        later("verdicts_wide", "judge_deep_and_wide"),
    ),
    Claim(
        "C1 wide",
        "Our question",
        "How the two losses are scaled decides who is best on Figure 4's networks.",
        "deep-and-wide-networks",
        "experiments.deep_wide.effective",
        "test_verdicts_wide.py::test_the_scaling_decides_where_it_turns_something_around",
        later("verdicts_wide", "judge_scaling"),
    ),
    Claim(
        "C3 wide",
        "Our question",
        "The grid of learning rates, its end and its gaps, decides who is best on Figure 4's networks.",
        "deep-and-wide-networks",
        "experiments.deep_wide.grids",
        "test_verdicts_wide.py::test_the_grid_decides_where_a_larger_one_turns_the_end_around",
        later("verdicts_wide", "judge_grid"),
    ),
    Claim(
        "C4 wide",
        "Our question",
        "The rule to stop after an epoch without progress ends runs on Figure 4's networks that would still improve.",
        "deep-and-wide-networks",
        "experiments.deep_wide.run",
        "test_deep_wide.py::test_the_paper_s_rule_is_watched_and_the_run_goes_on",
        later("verdicts_wide", "judge_stop"),
    ),
    Claim(
        "C5",
        "Our question",
        "Equal numbers of weight updates are not equal work: seconds tell another story. (On Figure 4's networks, with "
        "this book's solver.)",
        "deep-and-wide-networks",
        "training.train",
        "test_training.py::test_seconds_leave_out_evaluation_and_loading",
        later("verdicts_wide", "judge_compute"),
    ),
    Claim(
        "T7",
        "Section 6",
        "PC can be read as an adaptive gradient method, conceptually similar to Adam; such methods escape saddles "
        "faster than SGD. (The paper leaves the comparison open; we ask for direction, step sizes and speed.)",
        "pc-among-the-optimisers",
        "experiments.directions.directions",
        "test_optimisers.py::test_the_kept_updates_are_those_of_the_methods_on_that_path",
        later("verdicts_optimisers", "judge_adaptive"),
    ),
    Claim(
        "T8",
        "Section 6",
        "PC's advantage does not depend on the batch size: it exploits second-order information for large "
        "mini-batches too. (At each method's best learning rate.)",
        "pc-among-the-optimisers",
        "experiments.batch_sizes.run",
        "test_batch_sizes.py::test_with_one_sample_and_activities_of_length_one_pcs_first_layer_takes_the_natural_step",
        later("verdicts_optimisers", "judge_batches"),
    ),
]

CLAIMS = {claim.id: claim for claim in _ROWS}
