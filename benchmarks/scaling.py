"""How the price of a step grows with depth, width, batch and classes: `python -m benchmarks.scaling`.

Around one network, 784–500×10–10 at batch 64, one size changes at a time. Inputs are Gaussian and labels random.
"""

import time

import torch

from benchmarks import contenders, environment, inference
from pcbook import records

BASE = {"depth": 10, "width": 500, "batch": 64, "classes": 10}
AXES = {
    "depth": (1, 2, 5, 10, 20),  # hidden layers
    "width": (50, 100, 200, 500, 1000),
    "batch": (1, 4, 16, 64, 256, 1024),
    "classes": (1, 10, 100, 1000),
}
QUICK = {"depth": (1, 3), "width": (10,), "batch": (2,), "classes": (1, 12)}
PROPAGATING = {"linear": "orthogonal", "tanh": "orthogonal", "relu": "he"}  # the signal survives any depth
# The largest problems with a float64 reference; beyond them, the residual speaks. The first bounds the J_l of all
# samples, which a linear network shares, the second the time that ReLU's kinks take.
OUTPUTS, UNKNOWNS = 16_384, 320_000


def main(line=None):
    parser = environment.parser(__doc__.splitlines()[0], "inference-scaling")
    parser.set_defaults(rounds=7)
    parser.add_argument("--inputs", type=int, default=784)
    options, start = parser.parse_args(line), time.perf_counter()
    environment.prepare(options)
    base, axes = ({**BASE, "depth": 2, "width": 20, "batch": 8}, QUICK) if options.quick else (BASE, AXES)
    options.rounds = 2 if options.quick else options.rounds
    rows = [measure(axis, value, base, *how, options) for axis in axes for value in axes[axis] for how in plans(axis)]
    details = {"seeds": [options.seed], "environment": environment.describe(options), "data": {}}
    settings = {"base": base, "axes": {k: list(v) for k, v in axes.items()}, "inputs": options.inputs}
    settings |= {"rounds": options.rounds, "device": options.device, "threads": options.threads}
    details["wall_clock"] = time.perf_counter() - start
    record = records.new("inference-scaling", settings, {"rows": rows}, **details)
    if not options.quick:
        print(records.save(options.output, record))
    return record


def plans(axis):
    """(activation, initialisation) pairs: over depth also one that keeps the signal."""
    for activation in inference.ACTIVATIONS:
        yield activation, "default"
        if axis == "depth":
            yield activation, PROPAGATING[activation]


def measure(axis, value, base, activation, scheme, options):
    """One row: ratio to backpropagation, error, residual and peak memory of one network."""
    size = base | {axis: value}
    sizes = [options.inputs, *[size["width"]] * size["depth"], size["classes"]]
    generator = torch.Generator().manual_seed(options.seed + 1)
    x = torch.randn(size["batch"], options.inputs, generator=generator)
    y = torch.zeros(size["batch"], size["classes"])
    y[torch.arange(len(y)), torch.randint(size["classes"], (len(y),), generator=generator)] = 1.0
    x, y = x.to(options.device), y.to(options.device)
    net = environment.net(sizes, activation, options, scheme)
    exact = activation == "linear" or size["batch"] * size["classes"] <= OUTPUTS
    if activation == "relu":
        exact &= size["batch"] * size["width"] * size["depth"] <= UNKNOWNS
    (row,) = contenders.compare(net, x, y, {"auto": contenders.solve}, rounds=options.rounds, budget=4.0, exact=exact)
    peaks = inference.footprint(net, x, y)
    row |= {"bytes": peaks["auto"], "backpropagation_bytes": peaks["backpropagation"]}
    row = {"axis": axis, "value": value, "activation": activation, "scheme": scheme, **row}
    inference.show(row)
    return row


if __name__ == "__main__":
    main()
