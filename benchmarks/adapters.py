"""Other predictive coding libraries: the far side of `peers.py`, which runs this file in the library's environment.

This file therefore imports neither torch nor pcbook at the top. An adapter is a function of (activation, weights) that
returns steps by their setting's name; a step maps (x, y) to the weight gradients, averaged over the batch, and the
activities z_1 … z_{L−1} that they were taken at. All of them minimise the energy of Eq. 20 without biases or
precisions, z_l = φ(W_l z_{l−1}) + e_l, in float32. Each library has its defaults (its example's, where the code has
none) and a setting that leaves less error.
"""

import base64
import importlib.metadata
import json
import math
import os
import sys
import time
import tomllib
import warnings
from pathlib import Path

import numpy as np

EULER_STEPS, RATE = 1000, 0.1  # the paper's number of steps and step size, given to whoever takes such arguments
ERROR_RATES = (0.1, 0.03, 0.01)  # for descent on the errors: the best is used, and its search is not timed
INSTALL = {
    "pcx": "pip install pcx",
    "fabricpc": "pip install fabricpc",
    "jpc": "pip install equinox diffrax optax, and --checkout jpc=FOLDER of github.com/thebuckleylab/jpc",
    "torch2pc": "--checkout torch2pc=FOLDER of github.com/RobertRosenbaum/Torch2PC",
    "error_based_pc": "pip install lightning, --checkout error_based_pc=FOLDER of github.com/cgoemaere/error_based_PC",
}


def send(message, stream):
    """A line of JSON, in which arrays are their bytes: unlike a pickle, it cannot run anything at the other end."""
    stream.write(json.dumps(message, default=_packed).encode() + b"\n")
    stream.flush()


def receive(stream):
    """The next message, its arrays unpacked. `EOFError` at the end of the stream."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line, object_hook=_unpacked)


def _packed(array):
    array = np.ascontiguousarray(array)
    return {"dtype": array.dtype.str, "shape": array.shape, "bytes": base64.b64encode(array).decode()}


def _unpacked(found):
    if found.keys() != {"dtype", "shape", "bytes"}:
        return found
    flat = np.frombuffer(base64.b64decode(found["bytes"]), dtype=found["dtype"])
    return flat.reshape(found["shape"]).copy()


def serve(name, threads, checkout):
    """Answers until its input ends. What a library prints goes to stderr."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    if hasattr(os, "sched_setaffinity"):  # XLA takes every core it may
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])

    def reply(answer):
        send(answer, sink)

    try:
        if checkout:
            sys.path.insert(0, checkout)
            _name_version(checkout)
        adapter, packages = LOADERS[name]()
    except ImportError as error:
        return reply(f"not installed ({error}): {INSTALL[name]}")
    reply({package: importlib.metadata.version(package) for package in packages})
    steps = {}
    while True:
        try:
            task, *arguments = receive(source)
        except EOFError:
            return None
        if task == "build":
            steps = adapter(*arguments)
            reply(list(steps))
        else:
            start = time.perf_counter()
            try:
                gradients, activities = steps[arguments[0]](*arguments[1:])
                reply((time.perf_counter() - start, gradients, activities))
            except Exception as error:  # a library that gives up is a result, not the end of the run
                reply(next(line for line in f"{error}\n{type(error)}".splitlines() if line)[:200])


def _name_version(checkout):
    """JPC asks for its own installed version; a checkout has it in its pyproject.toml."""
    project = Path(checkout) / "pyproject.toml"
    if project.exists():
        own, asked = tomllib.loads(project.read_text())["project"], importlib.metadata.version
        importlib.metadata.version = lambda name: own["version"] if name == own["name"] else asked(name)


def load_torch2pc():
    """Torch2PC (Rosenbaum 2022), `Strict`: its example's 20 steps, and the paper's 1000."""
    import torch
    from TorchSeq2PC import PCInfer

    def adapter(activation, weights):
        model = _torch_layers(activation, weights)

        def step(n):
            def run(x, y):
                x, y = torch.from_numpy(x), torch.from_numpy(y)
                beliefs = PCInfer(model, lambda out, y: 0.5 * ((out - y) ** 2).sum(), x, y, "Strict", RATE, n)[3]
                return _torch_gradients(model, len(x)), [v.detach().numpy() for v in beliefs[1:-1]]

            return run

        return {"default": step(20), f"{EULER_STEPS} steps": step(EULER_STEPS)}

    return adapter, ["torch"]


def load_error_based_pc():
    """ePC (Goemaere et al. 2026): its notebook's 16 steps at rate 0.1, and 256 at the best rate of a grid."""
    import torch
    from pc_e import PCE

    def adapter(activation, weights):
        layers = _torch_layers(activation, weights)
        model = PCE(layers, 16, RATE, 0.0)
        model.log = lambda *_, **__: None  # there is no trainer to log to

        def run(x, y, steps, rate):
            x, y = torch.from_numpy(x), torch.from_numpy(y)
            model.iters, model.e_lr = steps, rate
            layers.zero_grad()
            model(x, y)
            (model.E_local(x, y) / len(x)).backward()
            activities = [z.detach().numpy() for z in model.get_states_from_errors(x)[:-1]]
            return _torch_gradients(layers, 1), activities, lambda: model.E(x, y).detach()

        return {
            "default": lambda x, y: run(x, y, 16, RATE)[:2],
            "256 steps, best rate": _tuned(lambda x, y, rate: run(x, y, 256, rate)),
        }

    return adapter, ["torch", "lightning"]


def load_jpc():
    """JPC (Innocenti et al. 2024): the defaults (Heun to t = 20), and to t = 4096.

    JPC divides the energy by the batch size before it takes the activities' gradients, so its time runs slower than
    the other libraries' by that factor; 4096 is where it stops by itself.
    """
    import equinox as eqx
    import jax
    import jpc
    from diffrax import PIDController

    def layer(weight, function):
        linear = eqx.nn.Linear(*weight.shape[::-1], use_bias=False, key=jax.random.PRNGKey(0))
        linear = eqx.tree_at(lambda l: l.weight, linear, jax.numpy.asarray(weight))
        return eqx.nn.Sequential([linear, eqx.nn.Lambda(function)])

    @eqx.filter_jit
    def infer(model, x, y, end, tolerance):
        control = PIDController(rtol=tolerance, atol=tolerance)
        start, params = jpc.init_activities_with_ffwd(model, x), (model, None)
        z = jpc.solve_inference(params, start, y, input=x, max_t1=end, stepsize_controller=control)
        z = [a[0] for a in z]
        gradients = jpc.compute_pc_param_grads(params, z, y, x=x)[0]
        return [g.layers[0].weight for g in gradients], z[:-1]

    def adapter(activation, weights):
        model = [layer(*pair) for pair in zip(weights, _jax_activations(activation, weights), strict=True)]
        tight = 1e-3 if activation == "relu" else 1e-4  # below 1e-3 the steps at ReLU's kinks are too many to end

        def step(end, tolerance):
            return lambda x, y: _arrays(infer(model, x, y, end, tolerance))

        return {"default": step(20, 1e-3), "to t = 4096": step(4096, tight)}

    return adapter, ["jpc", "jax", "diffrax"]


def load_pcx():
    """PCX (Pinchetti et al. 2024): its example's 8 steps at rate 0.01, and the paper's 1000 at 0.1."""
    import jax
    import optax
    import pcx
    import pcx.functional as pxf
    import pcx.nn as pxnn
    import pcx.predictive_coding as pxc
    import pcx.utils as pxu

    class Model(pxc.EnergyModule):
        def __init__(self, functions, weights):
            super().__init__()
            self.functions = pcx.static(functions)
            self.layers = [pxnn.Linear(*w.shape[::-1], bias=False) for w in weights]
            for linear, w in zip(self.layers, weights, strict=True):
                linear.nn.weight.set(jax.numpy.asarray(w))
            self.vodes = [pxc.Vode() for _ in weights]
            self.vodes[-1].h.frozen = True

        def __call__(self, x, y):
            for vode, function, linear in zip(self.vodes, self.functions.get(), self.layers, strict=True):
                x = vode(function(linear(x)))
            if y is not None:
                self.vodes[-1].set("h", y)
            return self.vodes[-1].get("u")

    batched = pxu.M(pxc.VodeParam | pxc.VodeParam.Cache).to((None, 0))

    @pxf.vmap(batched, in_axes=(0, 0), out_axes=0)
    def forward(x, y, *, model):
        return model(x, y)

    @pxf.vmap(batched, in_axes=(0,), out_axes=(None, 0), axis_name="batch")
    def energy(x, *, model):
        out = model(x, None)
        return jax.lax.psum(model.energy(), "batch"), out

    def gradient(mask, x, model):
        with pxu.step(model, clear_params=pxc.VodeParam.Cache):
            return pxf.value_and_grad(mask.to([False, True]), has_aux=True)(energy)(x, model=model)[1]["model"]

    def free():  # a new mask for each use: `to` changes it
        return pxu.M_hasnot(pxc.VodeParam, frozen=True)

    @pxf.jit()
    def start(x, y, *, model):
        with pxu.step(model, pxc.STATUS.INIT, clear_params=pxc.VodeParam.Cache):
            forward(x, y, model=model)

    @pxf.jit()
    def relax(x, *, model, optimiser):
        optimiser.step(model, gradient(free(), x, model))

    @pxf.jit()
    def learn(x, *, model):
        return [l.nn.weight.get() / len(x) for l in gradient(pxu.M(pxnn.LayerParam), x, model).layers]

    def adapter(activation, weights):
        model, optimisers = Model(_jax_activations(activation, weights), weights), {}

        def step(n, rate):
            def run(x, y):
                start(x, y, model=model)
                if rate not in optimisers:  # plain descent has no state: one optimiser serves every batch
                    optimisers[rate] = pxu.Optim(lambda: optax.sgd(rate), free()(model))
                for _ in range(n):
                    relax(x, model=model, optimiser=optimisers[rate])
                return _arrays((learn(x, model=model), [v.h.get() for v in model.vodes[:-1]]))

            return run

        return {"default": step(8, 0.01), f"{EULER_STEPS} steps": step(EULER_STEPS, RATE)}

    return adapter, ["pcx", "jax"]


def load_fabricpc():
    """FabricPC: the defaults (20 steps at 0.1), the paper's 1000, and its ePC with 256 at the best rate of a grid."""
    from functools import partial

    import jax
    from fabricpc.core import activations
    from fabricpc.core.energy import graph_energy
    from fabricpc.core.inference import InferenceSGD
    from fabricpc.core.inference_epc import EPCInference
    from fabricpc.core.topology import Edge
    from fabricpc.core.types import GraphParams, NodeParams
    from fabricpc.graph_assembly import TaskMap, graph
    from fabricpc.graph_initialization.state_initializer import FeedforwardStateInit, initialize_graph_state
    from fabricpc.nodes import Linear
    from fabricpc.training.trainer import pc_weight_gradients

    functions = {
        "linear": activations.IdentityActivation,
        "tanh": activations.TanhActivation,
        "relu": activations.ReLUActivation,
    }

    def adapter(activation, weights):
        output, hidden = activations.IdentityActivation(), functions[activation]()
        sizes = [weights[0].shape[1], *(len(w) for w in weights)]
        names = [f"z{l}" for l in range(len(sizes))]
        phi = {name: hidden for name in names} | {names[0]: output, names[-1]: output}
        nodes = [Linear((n,), name, phi[name], use_bias=False) for name, n in zip(names, sizes, strict=True)]
        edges = [Edge(source=nodes[l], target=nodes[l + 1].slot("in")) for l in range(len(weights))]
        plan = graph(nodes, edges, TaskMap(x=nodes[0], y=nodes[-1]), inference=InferenceSGD())
        keys = [(name, plan.nodes[name].node_info.in_edges[0]) for name in names[1:]]
        arrays = [jax.numpy.asarray(w.T) for w in weights]
        params = {name: NodeParams({key: w}, {}) for (name, key), w in zip(keys, arrays, strict=True)}
        params = GraphParams({names[0]: NodeParams({}, {}), **params})

        @partial(jax.jit, static_argnums=0)
        def infer(inference, params, x, y):
            clamps, key = {names[0]: x, names[-1]: y}, jax.random.PRNGKey(0)
            state = initialize_graph_state(plan, len(x), key, clamps, FeedforwardStateInit(), params)
            state = inference.run_inference(params, state, clamps, plan)
            found = pc_weight_gradients(params, state, plan, clamps).nodes
            gradients = [found[name].weights[key].T for name, key in keys]
            return gradients, [state.nodes[name].z_latent for name in names[1:-1]], graph_energy(state, plan)

        def step(inference):
            return lambda x, y: _arrays(infer(inference, params, x, y)[:2])

        methods = {rate: EPCInference(rate, 256) for rate in ERROR_RATES}  # one object a rate: compiled once

        def descend(x, y, rate):
            gradients, activities, energy = _arrays(infer(methods[rate], params, x, y))
            return gradients, activities, lambda: energy

        return {
            "default": step(InferenceSGD()),
            f"{EULER_STEPS} steps": step(InferenceSGD(RATE, EULER_STEPS)),
            "ePC, 256 steps, best rate": _tuned(descend),
        }

    return adapter, ["fabricpc", "jax"]


LOADERS = {name: globals()[f"load_{name}"] for name in INSTALL}


def _tuned(run):
    """A step at the rate of `ERROR_RATES` with the lowest energy on the first batch, kept from then on."""
    best = []

    def energy(rate, x, y):
        value = float(run(x, y, rate)[2]())
        return value if math.isfinite(value) else math.inf

    def step(x, y):
        if not best:
            best.append(min(ERROR_RATES, key=lambda rate: energy(rate, x, y)))
        return run(x, y, best[0])[:2]

    return step


def _torch_layers(activation, weights):
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    functions = {"linear": torch.nn.Identity, "tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
    layers = [torch.nn.Linear(*w.shape[::-1], bias=False) for w in weights]
    for layer, w in zip(layers, weights, strict=True):
        layer.weight.data = torch.from_numpy(w)
    return torch.nn.Sequential(
        *(torch.nn.Sequential(layer, functions[activation]()) for layer in layers[:-1]), layers[-1]
    )


def _torch_gradients(model, batch):
    return [p.grad.numpy() / batch for p in model.parameters()]


def _jax_activations(activation, weights):
    import jax

    function = {"linear": lambda u: u, "tanh": jax.numpy.tanh, "relu": jax.nn.relu}[activation]
    return [*[function] * (len(weights) - 1), lambda u: u]


def _arrays(tree):
    import jax

    return jax.tree_util.tree_map(np.asarray, tree)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose names are too common
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
