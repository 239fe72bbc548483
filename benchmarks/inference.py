"""What a step of predictive coding costs: `python -m benchmarks.inference`.

A step is everything from a batch to the weight gradients. Ours, the paper's Euler and other libraries start from the
same weights and get the same batch, in one run; times are ratios to backpropagation's step beside them. The error is
that of the weight gradients of all layers, against a float64 equilibrium (`reference.py`). It is taken at the
initialisation and all through an epoch of training with PC: there also with a warm start from the update before, and
for the epoch's last batch, which may be smaller.
"""

import functools
import statistics
import time

import numpy as np
import torch

from benchmarks import contenders, environment, memory
from benchmarks.adapters import INSTALL
from benchmarks.peers import Missing, Peer
from pcbook import data, network, records

ACTIVATIONS = ("linear", "tanh", "relu")


def arguments(line=None):
    parser = environment.parser(__doc__.splitlines()[0], "inference-cost")
    parser.add_argument("--sizes", default="784-500x10-10", help="layer sizes")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--data", default="mnist", choices=("mnist", "digits"))
    parser.add_argument("--activations", nargs="+", default=ACTIVATIONS, choices=ACTIVATIONS)
    parser.add_argument("--rates", nargs="+", type=float, default=[0.1, 1.0], help="learning rates α of the training")
    parser.add_argument("--updates", type=int, help="of the training; one epoch unless given")
    parser.add_argument("--checkpoints", type=int, default=9, help="how often the training is examined")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds for each slow step's measurements")
    parser.add_argument(
        "--peers", nargs="*", default=list(INSTALL), choices=INSTALL, help="other libraries (on the CPU)"
    )
    parser.add_argument("--peers-at", nargs="+", default=["initialisation"], choices=["initialisation", "trained"])
    parser.add_argument("--checkout", nargs="+", default=[], metavar="NAME=FOLDER", help="a library's source")
    parser.add_argument("--python", nargs="+", default=[], metavar="NAME=PROGRAM", help="the Python a library is in")
    options = parser.parse_args(line)
    if options.quick:
        options.updates, options.rounds, options.budget, options.checkpoints = options.updates or 20, 3, 0.0, 3
    return options


def main(line=None):
    options, start = arguments(line), time.perf_counter()
    environment.prepare(options)
    x, y, digest = environment.images(options.data, options.device)
    peers, found = launch(options)
    results = {"peers": found, "steps": [], "training": [], "memory": [], "chains": []}
    try:
        for activation in options.activations:
            study(activation, x, y, peers, options, results)
    finally:
        for peer in peers:
            peer.close()
    for activation in ("linear", "tanh"):  # a ReLU chain of width 1 is dead at most initialisations
        results["chains"] += chain(activation, options)
    results["summary"] = summary(results["training"])
    settings = {key: value for key, value in vars(options).items() if key not in ("output", "checkout", "python")}
    where = environment.describe(options)
    details = {"seeds": [options.seed], "environment": where, "data": digest}
    record = records.new("inference-cost", settings, results, wall_clock=time.perf_counter() - start, **details)
    if not options.quick:
        print(records.save(options.output, record))
    return record


def launch(options):
    """The peers that answer, and what is known of each: its versions and its checkout's commit, or what it lacks."""
    pythons, folders = (dict(item.split("=", 1) for item in pairs) for pairs in (options.python, options.checkout))
    running, said = [], {}
    for name in options.peers if options.device == "cpu" else ():
        try:
            more = {"python": pythons[name]} if name in pythons else {}
            running.append(Peer(name, checkout=folders.get(name), threads=options.threads, **more))
            said[name] = running[-1].versions
            if name in folders:
                said[name] |= {"commit": records.commit(folders[name])}
        except Missing as error:
            said[name] = str(error)
        print(f"peer {name}: {said[name]}", flush=True)
    return running, said


def study(activation, x, y, peers, options, results):
    """Everything about one activation: the initialisation, and training at each rate, into `results`."""

    def steps(net, stage, batch):
        others = peers if stage.split(",")[0] in options.peers_at else ()
        for row in contenders.compare(net, *batch, peers=others, rounds=options.rounds, budget=options.budget):
            results["steps"].append({"activation": activation, "stage": stage, **row})
            show(results["steps"][-1])
        for name, size in footprint(net, *batch).items():
            results["memory"].append({"activation": activation, "stage": stage, "method": name, "bytes": size})

    sizes = environment.sizes_of(options.sizes)
    shuffled = data.batches(x, y, options.batch, options.seed)
    batches = [[torch.from_numpy(part).to(options.device) for part in batch] for batch in shuffled]
    steps(environment.net(sizes, activation, options), "initialisation", batches[0])
    for rate in options.rates:
        net = environment.net(sizes, activation, options)
        for row in train(net, batches[: options.updates], rate, options):
            results["training"].append({"activation": activation, "rate": rate, **row})
            show(results["training"][-1])
        if np.isfinite(results["training"][-1]["loss"] or np.inf):
            steps(net, f"trained, α = {rate:g}", batches[0])


def train(net, batches, rate, options):
    """Rows at evenly spaced updates of one epoch of PC: loss, error, ratio to backpropagation. Stops if it diverges.

    They are taken on full batches, and on the last one if it is smaller. From the second update on there is a row for
    a start from the equilibrium of the update before.
    """
    full = [update for update, (x, _) in enumerate(batches) if len(x) == len(batches[0][0])]
    marks = {round(i * (len(full) - 1) / max(options.checkpoints - 1, 1)) for i in range(options.checkpoints)}
    marks = {full[i] for i in marks} | {len(batches) - 1}
    solvers, rounds = {"auto": contenders.SOLVERS["auto"]}, options.rounds
    for update, (x, y) in enumerate(batches):
        if update in marks:
            loss = float(network.loss(net, x, y).mean())
            for row in contenders.compare(net, x, y, solvers, rounds=rounds):
                yield {"update": update, "samples": len(x), "loss": loss, **row}
        gradients, found = contenders.solve(net, x, y)
        for w, g in zip(net.weights, gradients, strict=True):
            w.sub_(g, alpha=rate)
        solvers["auto, warm start"] = functools.partial(contenders.solve, warm=found)
        if not all(bool(torch.isfinite(w).all()) for w in net.weights):
            yield {"update": update + 1, "samples": len(x), "loss": None, "failed": "the training diverged"}
            return


def footprint(net, x, y):
    """Peak bytes of a step of backpropagation, ours and autograd's, of PC and of Euler (10 steps show all)."""
    steps = {
        "backpropagation": lambda: contenders.backpropagation(net, x, y),
        "autograd": lambda: contenders.autograd(net, x, y),
        "auto": lambda: contenders.solve(net, x, y),
        "Euler": lambda: contenders.solve(net, x, y, method="euler", max_iterations=10),
    }
    return {name: memory.peak(step, net.device) for name, step in steps.items()}


def chain(activation, options, depth=10):
    """The same comparison for the toy regression on a chain of width 1."""
    net = environment.net([1] * (depth + 1), activation, options)
    pairs = next(iter(data.toy_batches(np.random.default_rng(options.seed), 1, size=options.batch)))
    x, y = (torch.as_tensor(a[0], dtype=torch.float32, device=options.device).unsqueeze(1) for a in pairs)
    rows = contenders.compare(net, x, y, rounds=options.rounds, budget=options.budget)
    return [{"activation": activation, "depth": depth, **row} for row in rows]


def summary(rows):
    """Median and worst over the checkpoints, for each activation, rate, method and number of samples."""
    table, fields = [], ("activation", "rate", "method", "samples")
    rows = [row for row in rows if row.get("error") is not None]
    for key in dict.fromkeys(tuple(row[field] for field in fields) for row in rows):
        own = [row for row in rows if tuple(row[field] for field in fields) == key]
        line = dict(zip(fields, key, strict=True)) | {"checkpoints": len(own)}
        for name in ("ratio", "error"):
            values = [row[name] for row in own]
            line |= {f"{name}_median": statistics.median(values), f"{name}_worst": max(values)}
        table.append(line)
        show(line)
    return table


def show(row):
    """One line of progress."""
    words = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
    print("  ".join(words), flush=True)


if __name__ == "__main__":
    main()
