"""Mutation testing of the kernels: wrong programs, each one slip away from the right one, that the tests must tell.

    python -m tests.mutation                    # every mutant of every kernel: hours
    python -m tests.mutation onemlp --jobs 2    # of one module
    python -m tests.mutation --sample 20        # so many of each, at random, the same for the same --seed
    python -m tests.mutation onemlp --record    # and write the module's score to benchmarks/mutants.json
    python -m tests.mutation --again --record   # those that survived there and are not listed, after more tests

A mutant is one operator, sign, comparison, constant, condition, pair of arguments, transpose or call changed or left
out. No file is changed: the tests are collected once, and each mutant gets a forked process, in which the functions
take the mutated code. It gets the tests that run the changed lines, the quick ones first, until one fails. Those that
survive because they change no result, or only how fast it comes, are listed in `mutants.toml` with the reason.
Exits with 1 if a mutant survives that is not listed, or what is listed is not there or is caught. Needs `os.fork`.
"""

import argparse
import ast
import collections
import fnmatch
import functools
import gc
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
import types
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "mutants.toml"
RECORD = ROOT / "benchmarks" / "mutants.json"
INFERENCE = ("equilibrium", "euler", "exact", "fixed_point", "kink", "kinked", "newton", "response", "rules", "state")
MODULES = ("onemlp", "trust_region", "network", "taylor", "inference", *(f"inference.{name}" for name in INFERENCE))
TESTS = (
    "onemlp",
    "checks",
    "extremes",
    "network",
    "inference",
    "inference_parts",
    "kinked",
    "taylor",
    "trust_region",
    "linear_theory",
)
BROKEN = 99  # the exit code of a child that raised
SLACK = 5.0  # seconds beyond three times what the tests take without a mutation: then it counts as caught

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

SYMMETRIC = {"max", "min", "maximum", "minimum", "hypot", "allclose", "mul", "addcmul", "addcmul_"}

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
        case ast.Call(function, [*first, a, b], keywords) if ast.dump(a) != ast.dump(b) and not symmetric(function):
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


def symmetric(function):
    """Whether a function is one whose last two arguments may change places: max, np.hypot, …"""
    return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")) in SYMMETRIC


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


class Collected:
    """A pytest plugin that hands the collected tests to `work` in place of running them."""

    def __init__(self, work):
        self.work, self.result = work, None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        self.result = self.work(session)
        return True


def collected(files, work):
    """What `work` makes of a pytest session with the tests of some files, in this process."""
    options = "-x -q -s -p no:cacheprovider -o addopts= -W ignore::pytest.PytestAssertRewriteWarning --rootdir"
    plugin = Collected(work)
    code = pytest.main([*options.split(), str(ROOT), *(str(ROOT / file) for file in sorted(files))], plugins=[plugin])
    return plugin.result if plugin.result is not None else sys.exit(f"pytest ended with {code}")


def run(session, names, around=lambda name, test: test()):
    """1 if one of these tests fails, which ends it; `around` calls each."""
    items = {item.nodeid: item for item in session.items}
    chosen = [items[name] for name in names if name in items]
    for item, following in zip(chosen, [*chosen[1:], None], strict=True):
        hook = session.config.hook.pytest_runtest_protocol
        around(item.nodeid, functools.partial(hook, item=item, nextitem=following))
        if session.testsfailed:
            return 1
    return int(len(chosen) < len(names))


def forked(work, output=os.devnull):
    """The process id of a child that ends with what `work()` returns for its exit code."""
    pid = os.fork()
    if pid:
        return pid
    code = BROKEN
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
    """Make hypothesis quick and repeatable, and torch run in one thread."""
    import hypothesis
    import torch

    torch.set_num_threads(1)
    os.environ |= {"HYPOTHESIS_STORAGE_DIRECTORY": tempfile.mkdtemp(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plain = dict(derandomize=True, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    phases = hypothesis.Phase.explicit, hypothesis.Phase.generate  # what fails need not be the simplest example
    hypothesis.settings.register_profile("mutation", phases=phases, **plain)
    hypothesis.settings.load_profile("mutation")
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.dont_write_bytecode = True


def watched(session):
    """{test: ({file: lines that it runs}, seconds)}, from one run of the tests without a mutation."""
    names = [item.nodeid for item in session.items]
    with tempfile.TemporaryDirectory() as folder:
        notes, log = Path(folder, "notes"), Path(folder, "log")

        def work():
            watch = coverage.Coverage(data_file=None, config_file=False, include=list(map(str, map(source, MODULES))))
            seconds = {}

            def around(name, test):
                watch.switch_context(name)
                start = time.perf_counter()
                test()
                seconds[name] = time.perf_counter() - start

            watch.start()
            code = run(session, names, around)
            watch.stop()
            lines, data = collections.defaultdict(lambda: collections.defaultdict(list)), watch.get_data()
            for file in data.measured_files():
                for line, tests in data.contexts_by_lineno(file).items():
                    for test in tests:
                        lines[test][file].append(line)
            notes.write_text(json.dumps({name: (lines[name], seconds[name]) for name in seconds}), encoding="utf-8")
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


def codes(code):
    """A compiled module, and what it defines, all the way down."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def transplant(mutant):
    """Give the functions of a module that is imported the mutant's code. Whether it has the same functions."""
    path = source(mutant.module)
    before = list(codes(compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)))
    after = list(codes(mutant.compile()))
    if len(before) != len(after):  # `while False`: what it held is gone
        return False
    new = dict(zip(before, after, strict=True))
    for function in gc.get_objects():
        if type(function) is types.FunctionType and function.__code__ in new:
            function.__code__ = new[function.__code__]
    return True


def import_again(mutant):
    """Forget what is imported of the project, so that it is imported again with the mutated module."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and ROOT in Path(file).parents and name != __name__:
            del sys.modules[name]
    path, code, loaders = str(source(mutant.module)), mutant.compile(), importlib.machinery.SourceFileLoader
    original = loaders.get_code
    loaders.get_code = lambda loader, name: code if loader.path == path else original(loader, name)


def start(session, mutant, names):
    """The process id of a child that runs some tests on a mutant."""

    def work():
        if mutant.lines is not None and transplant(mutant):
            return run(session, names)
        import_again(mutant)
        return collected({name.split("::")[0] for name in names}, lambda fresh: run(fresh, names))

    return forked(work)


def trials(session, chosen, tests, jobs, budget):
    """(mutant, "caught", "late" or "survived", seconds) of each, as they end."""
    waiting, running = list(reversed(chosen)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            names, seconds = fitting(mutant, tests, budget)
            if names:
                running[start(session, mutant, names)] = mutant, time.monotonic(), 3 * seconds + SLACK
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
                if mutant.lines is not None and os.WIFEXITED(status) and os.WEXITSTATUS(status) == BROKEN:
                    raise RuntimeError(f"no test failed, the trial itself did: {mutant.name}")
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
    parser.add_argument("--sample", type=int, help="so many of each module, at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of tests that each gets at most")
    parser.add_argument("--tests", nargs="*", default=TESTS, help="which test files are asked, without test_ and .py")
    parser.add_argument("--record", action="store_true", help=f"write the scores to {RECORD.relative_to(ROOT)}")
    parser.add_argument("--again", action="store_true", help="those that survived in the record, but for the listed")
    parser.add_argument("--list", action="store_true", help="print the mutants' names, and run nothing")
    options = parser.parse_args(arguments)
    every = {module: mutants(module) for module in options.modules}
    chosen = {module: some(every[module], options) for module in options.modules}
    if options.list:
        return print(*(m.name for module in chosen.values() for m in module), sep="\n")
    prepare()
    work = functools.partial(judge, every=every, chosen=chosen, options=options)
    return collected((f"tests/test_{name}.py" for name in options.tests), work)


def some(every, options):
    """The mutants of a module that the options ask for."""
    fits = [m for m in every if excused(m.name, [options.only])]
    if options.again:
        alive, patterns = recorded(every[0].module)["survived"], listed()
        fits = [m for m in fits if m.name in alive and not excused(m.name, patterns)]
    return fits if options.sample is None else random.Random(options.seed).sample(fits, min(options.sample, len(fits)))


def judge(session, every, chosen, options):
    """Try the mutants of one module after the other; report, and record if asked. 1 if one lives or the list is old."""
    tests, patterns, rows, stale = watched(session), listed(), [], []
    for module in every:
        results, caught, alive, begun = collections.Counter(), collections.Counter(), [], time.monotonic()
        for mutant, result, seconds in trials(session, chosen[module], tests, options.jobs, options.budget):
            fits = excused(mutant.name, patterns)
            results[result] += 1
            if result == "survived":
                alive.append(mutant.name)
            else:
                caught.update(fits)
            print(
                f"{'listed' if result == 'survived' and fits else result:8} {seconds:5.1f} s  {mutant.name}", flush=True
            )
        rows.append(score(module, len(every[module]), results, alive))
        stale += outdated(every[module], chosen[module], patterns, caught)
        print(sentence(rows[-1], patterns), flush=True)
        if options.record:
            settings = {name: getattr(options, name) for name in ("only", "sample", "seed", "budget")}
            settings |= {"tests": list(options.tests), "seconds": round(time.monotonic() - begun)}
            tried = {m.name for m in chosen[module]}
            save(added(rows[-1], recorded(module), tried) if options.again else rows[-1] | settings)
    total = {key: sum(row[key] for row in rows) for key in ("of", "run", "caught", "late")}
    total |= {"module": "together", "survived": [name for row in rows for name in row["survived"]]}
    print(sentence(total, patterns), *(f"stale in {LIST.name}: {pattern}" for pattern in stale), sep="\n")
    return int(bool(stale or any(not excused(name, patterns) for name in total["survived"])))


def score(module, size, results, alive):
    """What a module's mutants came to: all of them, those run, caught, and the names of those alive."""
    caught = results["caught"] + results["late"]
    return {"module": module, "of": size, "run": results.total(), "caught": caught, "late": results["late"],
            "survived": sorted(alive)}  # fmt: skip


def added(row, old, tried):
    """The record's row of a module after some of its survivors were tried again."""
    alive = sorted((set(old["survived"]) - tried) | set(row["survived"]))
    return old | {key: old[key] + row[key] for key in ("caught", "late")} | {"survived": alive}


def sentence(row, patterns):
    listed = sum(bool(excused(name, patterns)) for name in row["survived"])
    return (
        f"{row['module']}: {row['run']} of {row['of']} mutants run, {row['caught']} caught ({row['late']} by the time "
        f"limit), {listed} listed, {len(row['survived']) - listed} survived; "
        f"score {row['caught'] / max(row['run'] - listed, 1):.1%}"
    )


def outdated(every, chosen, patterns, caught):
    """The patterns of the list that fit a module's mutants no longer, or only such as are caught."""
    module, run = every[0].module, {m.name for m in chosen}
    own = [p for p in patterns if p.split(":")[0] == module]
    fits = {p: {m.name for m in every if excused(m.name, [p])} for p in own}
    return [p for p in own if not fits[p] or (fits[p] <= run and caught[p] == len(fits[p]))]


def rows_recorded():
    from pcbook import records

    return records.load(RECORD)["results"]["rows"] if RECORD.exists() else []


def recorded(module):
    """The record's row of a module; exits where there is none of its present code."""
    for row in rows_recorded():
        if row["module"] == module and row["code"] == code_of(module):
            return row
    return sys.exit(f"{RECORD.name} has nothing of {module} as it is now: run it without --again")


def code_of(module):
    """The digest of a module's code."""
    from pcbook.sweep import sources

    return sources.fingerprint(f"pcbook.{module}")[f"pcbook.{module}"]


def save(row):
    """Put a module's row into the record that `benchmarks.audit` reads, in place of its last one."""
    from pcbook import records

    row = row | {"code": code_of(row["module"])}
    rows = [r for r in rows_recorded() if r["module"] in MODULES and r["module"] != row["module"]] + [row]
    rows.sort(key=lambda r: MODULES.index(r["module"]))
    environment = records.describe(("numpy", "torch", "pytest", "hypothesis"))
    seconds = sum(r["seconds"] for r in rows)
    record = records.new("mutants", {}, {"rows": rows}, environment=environment, wall_clock=seconds)
    return records.save(RECORD, record)


if __name__ == "__main__":
    sys.exit(main())
