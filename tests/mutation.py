"""Mutation testing of the kernels: wrong programs, each one slip away from the right one, that the tests must tell.

    python -m tests.mutation                    # every mutant of every kernel: hours
    python -m tests.mutation onemlp --jobs 2    # of one module
    python -m tests.mutation --sample 200       # a random share, the same for the same --seed
    python -m tests.mutation --record           # and write the score to benchmarks/mutants.json

A mutant is one operator, sign, comparison, constant, condition, pair of arguments, transpose or call changed or left
out. Nothing is written: each runs in a process of its own, forked after the slow imports, in which the module compiles
from the mutated tree. It gets the tests that run the changed lines, the quick ones first, until one fails. Those that
survive because they change no result, or only how fast it comes, are listed in `mutants.toml` with the reason.
Exits with 1 if a mutant survives that is not listed, or what is listed is not there or is caught. Needs `os.fork`.
"""

import argparse
import ast
import collections
import fnmatch
import importlib.machinery
import json
import os
import random
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "mutants.toml"
RECORD = ROOT / "benchmarks" / "mutants.json"
INFERENCE = ("equilibrium", "euler", "exact", "fixed_point", "kink", "kinked", "newton", "response", "rules", "state")
MODULES = ("onemlp", "trust_region", "network", "taylor", "inference", *(f"inference.{name}" for name in INFERENCE))
TESTS = ("onemlp", "checks", "extremes", "network", "inference", "kinked", "taylor", "trust_region", "linear_theory")
SLACK = 15.0  # seconds beyond three times what the tests take without a mutation: then it counts as caught

OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
PAIRS = "min max", "amin amax", "minimum maximum", "clamp_min clamp_max", "any all", "zeros_like ones_like"
TWINS = {a: b for pair in map(str.split, PAIRS) for a, b in (pair, pair[::-1])}

# lines: the tests that run any of these are asked; None: those of all files that use the module. compile(): its code.
Mutant = collections.namedtuple("Mutant", "name module lines compile")


def replacements(node):
    """What takes the place of a node, one wrong expression or statement after the other."""
    match node:
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            yield ast.BinOp(left, OPERATORS[type(op)](), right)
        case ast.AugAssign(target, op, value) if type(op) in OPERATORS:
            yield ast.AugAssign(target, OPERATORS[type(op)](), value)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(OPERATORS[type(op)](), values)
        case ast.UnaryOp(ast.USub() | ast.Not() | ast.Invert(), operand):
            yield operand
        case ast.Compare(left, ops, right):
            for i, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    yield ast.Compare(left, [*ops[:i], other(), *ops[i + 1 :]], right)
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(float(value)):
            yield ast.Constant(2 * value or 1.0)
        case ast.Call(ast.Attribute(value, "t"), []) | ast.Attribute(value, "T" | "mT"):
            yield value
        case ast.Call(function, [*first, a, b], keywords) if ast.dump(a) != ast.dump(b):
            yield ast.Call(function, [*first, b, a], keywords)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.If(test, body, orelse) if not isinstance(test, ast.Compare):  # whose operators change
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Expr(ast.Call()):
            yield ast.Pass()
        case ast.Name(name, context) if name in TWINS:
            yield ast.Name(TWINS[name], context)
        case ast.Attribute(value, name, context) if name in TWINS:
            yield ast.Attribute(value, TWINS[name], context)


def mutants(module):
    """Every `Mutant` of a module "onemlp", "inference.state", … of the package."""
    path = source(module)
    tree, names = ast.parse(path.read_text(encoding="utf-8")), collections.Counter()

    def mutant(place, key, new, scope, statement):
        old = place[key]
        ast.copy_location(new, old)
        shown = (f"if {ast.unparse(n.test)}" if isinstance(n, ast.If) else ast.unparse(n) for n in (old, new))
        name = f"{module}: {'.'.join(n.name for n in scope)}: {' => '.join(shown)}"
        names[name] += 1
        last = old.test if isinstance(old, ast.If) else old if hasattr(statement, "body") else statement
        inside = any(isinstance(n, ast.FunctionDef) for n in scope)

        def compiled():
            place[key] = new
            code = compile(ast.fix_missing_locations(tree), str(path), "exec")
            place[key] = old
            return code

        lines = range(min(old.lineno, statement.lineno), last.end_lineno + 1) if inside else None
        return Mutant(name + f" #{names[name]}" * (names[name] > 1), module, lines, compiled)

    def visit(node, scope, statement):
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "bases"):
                continue
            inner = (*scope, node) if field == "body" and hasattr(node, "name") else scope
            place, keys = (value, range(len(value))) if isinstance(value, list) else (vars(node), [field])
            for key in keys:
                child = place[key]
                docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                guard = isinstance(child, ast.keyword) and child.arg == "strict"  # zip's, against slips in the program
                if not isinstance(child, ast.AST) or docstring or guard or isinstance(child, ast.Raise | ast.JoinedStr):
                    continue
                here = child if isinstance(child, ast.stmt) else statement
                for new in list(replacements(child)):
                    yield mutant(place, key, new, inner, here)
                yield from visit(child, inner, here)

    return list(visit(tree, (), None))


def source(module):
    path = ROOT.joinpath("pcbook", *module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


class Watch:
    """A pytest plugin that notes which lines of the kernels each test runs, and how long it takes."""

    def __init__(self, paths):
        self.paths, self.lines, self.seconds = set(map(str, paths)), {}, {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        seen = self.lines[item.nodeid] = collections.defaultdict(set)

        def line(frame, event, _):
            seen[frame.f_code.co_filename].add(frame.f_lineno)
            return line

        sys.settrace(lambda frame, event, _: line if frame.f_code.co_filename in self.paths else None)
        start = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - start
            sys.settrace(None)


class Only:
    """A pytest plugin that keeps some tests, in their order."""

    def __init__(self, names):
        self.rank = {name: i for i, name in enumerate(names)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        items[:] = sorted((i for i in items if i.nodeid in self.rank), key=lambda item: self.rank[item.nodeid])


def run_tests(files, plugin):
    """pytest's exit code, in this process."""
    options = "-x -q -p no:cacheprovider -o addopts= -W ignore::pytest.PytestAssertRewriteWarning --rootdir"
    return pytest.main([*options.split(), str(ROOT), *(str(ROOT / file) for file in sorted(files))], plugins=[plugin])


def forked(work, output=os.devnull):
    """The process id of a child that ends with what `work()` returns for its exit code."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()  # so that what it starts ends with it
        sys.stdout.flush()
        for stream in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        code = int(work())
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def prepare():
    """Import what is slow and not under test, and make hypothesis quick and repeatable."""
    import filelock  # noqa: F401
    import hypothesis.strategies
    import mpmath  # noqa: F401
    import scipy.linalg  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch.autograd.functional
    import yaml  # noqa: F401

    torch.set_num_threads(1)
    os.environ |= {"HYPOTHESIS_STORAGE_DIRECTORY": tempfile.mkdtemp(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plain = dict(derandomize=True, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    phases = hypothesis.Phase.explicit, hypothesis.Phase.generate  # what fails need not be the simplest example
    hypothesis.settings.register_profile("mutation", phases=phases, **plain)
    hypothesis.settings.load_profile("mutation")
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.dont_write_bytecode = True


def watched(files):
    """{test: ({file: lines that it runs}, seconds)}, from one run of the tests without a mutation."""
    with tempfile.TemporaryDirectory() as folder:
        notes, log = Path(folder, "notes"), Path(folder, "log")

        def work():
            watch = Watch(map(source, MODULES))
            code = run_tests(files, watch)
            lines = {test: {f: sorted(n) for f, n in seen.items()} for test, seen in watch.lines.items()}
            notes.write_text(json.dumps({t: (lines[t], watch.seconds[t]) for t in lines}), encoding="utf-8")
            return code

        _, status = os.waitpid(forked(work, log), 0)
        if status:
            sys.exit(f"the tests fail without a mutation:\n{log.read_text(encoding='utf-8')[-3000:]}")
        return json.loads(notes.read_text(encoding="utf-8"))


def fitting(mutant, tests, budget):
    """The tests that run the mutant's lines, the quick ones first, as far as `budget` seconds go; and their seconds."""
    path, chosen, total = str(source(mutant.module)), [], 0.0
    files = {name.split("::")[0] for name, (lines, _) in tests.items() if path in lines}
    for name, (lines, seconds) in sorted(tests.items(), key=lambda item: item[1][1]):
        if mutant.lines is None:  # what an import runs is every test's in a file that uses the module
            fits = name.split("::")[0] in files
        else:
            fits = any(n in mutant.lines for n in lines.get(path, ()))
        if fits and total + seconds <= budget:
            chosen.append(name)
            total += seconds
    return chosen, total


def start(mutant, names):
    """The process id of a child that runs some tests on a mutant."""

    def work():
        path, code, loaders = str(source(mutant.module)), mutant.compile(), importlib.machinery.SourceFileLoader
        original = loaders.get_code
        loaders.get_code = lambda loader, name: code if loader.path == path else original(loader, name)
        return run_tests({name.split("::")[0] for name in names}, Only(names))

    return forked(work)


def trials(chosen, tests, jobs, budget):
    """(mutant, "caught", "late" or "survived", seconds) of each, as they end."""
    waiting, running = list(reversed(chosen)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            names, seconds = fitting(mutant, tests, budget)
            if names:
                running[start(mutant, names)] = mutant, time.monotonic(), 3 * seconds + SLACK
            else:
                yield mutant, "survived", 0.0
        time.sleep(0.01)
        for pid, (mutant, begun, limit) in list(running.items()):
            seconds = time.monotonic() - begun
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and seconds > limit:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if ended or seconds > limit:
                del running[pid]
                yield mutant, "late" if not ended else "caught" if status else "survived", seconds


def listed():
    """{pattern: reason} of the mutants that may survive. In a pattern only * stands for more than itself."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["survivors"]
    return {pattern: entry["reason"] for entry in entries for pattern in entry["mutants"]}


def excused(name, patterns):
    """The patterns that fit a mutant's name."""
    return [p for p in patterns if fnmatch.fnmatchcase(name, p.replace("[", "[[]").replace("?", "[?]"))]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", default=MODULES, choices=[*MODULES, MODULES], metavar="module")
    parser.add_argument("--only", default="*", help="a pattern that the names of the mutants fit")
    parser.add_argument("--sample", type=int, help="so many of them, at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of tests that each gets at most")
    parser.add_argument("--tests", nargs="*", default=TESTS, help="which test files are asked, without test_ and .py")
    parser.add_argument("--record", action="store_true", help=f"write the score to {RECORD.relative_to(ROOT)}")
    parser.add_argument("--list", action="store_true", help="print the mutants' names, and run nothing")
    options = parser.parse_args(arguments)
    every = [m for module in options.modules for m in mutants(module)]
    chosen = [m for m in every if excused(m.name, [options.only])]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if options.list:
        return print(*(m.name for m in chosen), sep="\n")
    prepare()
    patterns, results, caught = listed(), collections.defaultdict(collections.Counter), collections.Counter()
    alive, begun = [], time.monotonic()
    tests = watched(f"tests/test_{name}.py" for name in options.tests)
    for mutant, result, seconds in trials(chosen, tests, options.jobs, options.budget):
        fits = excused(mutant.name, patterns)
        if result == "survived":
            result = "listed" if fits else "survived"
            alive += [] if fits else [mutant]
        else:
            caught.update(fits)
        results[mutant.module][result] += 1
        print(f"{result:8} {seconds:5.1f} s  {mutant.name}", flush=True)
    if options.record:
        settings = {"sample": options.sample, "seed": options.seed, "budget": options.budget, "tests": options.tests}
        print(save(settings, scores(results, every, alive), time.monotonic() - begun))
    return report(results, every, chosen, patterns, caught)


def scores(results, every, alive):
    """What each module's mutants came to: all of them, those run, caught, listed, and the names of those alive."""
    sizes = collections.Counter(m.module for m in every)
    names = {module: [m.name for m in alive if m.module == module] for module in sizes}
    rows = [(module, sizes[module], results[module]) for module in sizes]
    return [
        {"module": m, "of": size, "run": row.total(), "caught": row["caught"] + row["late"], "late": row["late"],
         "listed": row["listed"], "survived": names[m]}
        for m, size, row in rows
    ]  # fmt: skip


def save(settings, rows, seconds):
    """Write the record that `benchmarks.audit` reads."""
    from pcbook import records

    settings = {key: value if not isinstance(value, tuple) else list(value) for key, value in settings.items()}
    environment = records.describe(("numpy", "torch", "pytest", "hypothesis"))
    record = records.new("mutants", settings, {"rows": rows}, environment=environment, wall_clock=round(seconds, 1))
    return records.save(RECORD, record)


def report(results, every, chosen, patterns, caught):
    """Print the score. 1 if a mutant survives that is not listed, or if the list is out of date."""
    total = sum(results.values(), collections.Counter())
    for module, row in [*results.items(), ("together", total)]:
        size = len(every) if row is total else sum(m.module == module for m in every)
        killed, judged = row["caught"] + row["late"], row.total() - row["listed"]
        print(
            f"{module}: {row.total()} of {size} mutants run, {killed} caught ({row['late']} by the time limit), "
            f"{row['listed']} listed, {row['survived']} survived; score {killed / max(judged, 1):.1%}"
        )
    modules = {m.module for m in every}
    own = [p for p in patterns if p.split(":")[0] in modules]
    fits = {p: {m.name for m in every if excused(m.name, [p])} for p in own}
    run = {m.name for m in chosen}
    stale = [p for p in own if not fits[p] or (fits[p] <= run and caught[p] == len(fits[p]))]
    for pattern in stale:
        print(f"stale in {LIST.name}: {pattern}")
    return int(bool(total["survived"] or stale))


if __name__ == "__main__":
    sys.exit(main())
