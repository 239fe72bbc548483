"""The paper's experiments, each a function from a configuration to its measurements; by name the recorded ones."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcbook.sweep import Experiment
import importlib

EXPERIMENTS = {
    "deep-chains": "pcbook.experiments.deep_chains",
    "deep-wide": "pcbook.experiments.deep_wide",
    "optimisers": "pcbook.experiments.optimisers",
    "batch-sizes": "pcbook.experiments.batch_sizes",
}


def named(name: str) -> "Experiment":
    """The `sweep.Experiment` of that name. Its module is imported only now. `ValueError` lists the names there are."""
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment = {name!r}: must be one of {', '.join(map(repr, EXPERIMENTS))}")
    return importlib.import_module(EXPERIMENTS[name]).EXPERIMENT
