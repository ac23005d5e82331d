"""How many small mistakes the quick tests find: one operator is changed at random, and the tests of its module are run.

    python benchmarks/mutants.py --seed 12 --sample 160

Changes are sampled evenly over the modules of `preprocess/`, `detectors/` and `workflow/`: in each, first the kind of
change at random (comparison, arithmetic, boolean, condition, constant, swap, slice), then one of that kind. Each is
written into a copy of the tree and run against the quick tests that name the module, in the folder of its package:
where none does, against those of the modules that import it. It is killed when a test fails, and survives when all
pass, or when they do not end within the time limit. A test that killed anything must pass on the unchanged copy at
the end; what was killed by one that does not is run again without it.

Docstrings, messages (f-strings, logging, whatever is raised), annotations, decorators, `if __name__` and the layout
of figures are not changed, nor do tests run Snakemake: those that start it are passed over.

One process imports torch and its kind once, and is forked for each change; nothing of the project is imported before.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import csv
import importlib.util
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

PACKAGES = ("preprocess", "detectors", "workflow")
KILLED, SURVIVED, OUT_OF_TIME = "killed", "survived", "out of time"
# imported before the fork; what is not installed is passed over
HEAVY = (
    *("torch", "torchvision", "timm", "lightning", "sklearn.ensemble", "scipy.stats", "pandas", "pyarrow.parquet"),
    *("h5py", "cv2", "av", "PIL.Image", "matplotlib.pyplot", "yaml", "jsonschema", "pydantic", "dlib", "pytest"),
    *("sklearn.svm", "torch.utils.tensorboard", "facenet_pytorch", "tqdm"),
)

# as a word of a command, or of a shell's commands
_SNAKEMAKE = re.compile(r"(^|[\s/'\"])snakemake($|[\s'\"])")

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_PAIRS = ("min max", "any all", "floor ceil", "minimum maximum", "argmin argmax", "amin amax", "zeros ones", "sin cos")
SWAPS = {a: b for pair in _PAIRS for a, b in (pair.split(), reversed(pair.split()))}

# calls that only say something
_TELLING = {"print", "warn", "warning", "info", "debug", "exception", "log"}
# drawing, and the words for how it looks
_CANVASES = {"axes", "ax", "axis", "figure", "plt", "pyplot", "legend", "colorbar", "spine"}
_LAYOUT = {
    *("figsize", "dpi", "alpha", "fontsize", "linewidth", "linewidths", "lw", "markersize", "color", "colour", "pad"),
    *("zorder", "rotation", "bins", "hspace", "wspace", "height_ratios", "width_ratios", "bbox_to_anchor", "ncols"),
}
# keywords that check what already holds, or say only how fast something goes
_NO_RESULT = {"strict", "pin_memory", "non_blocking", "persistent_workers", "daemon"}


@dataclass(frozen=True)
class Change:
    """One change of a module.

    Attributes:
        module: Path in the tree.
        line: Of the unchanged module.
        function: Classes and functions around it, joined by dots.
        kind: comparison, arithmetic, boolean, condition, constant, swap or slice.
        before: The statement, normalised; of one with a body, its head.
        after: The statement changed.
        twin: How many equal changes of that function come before it.
    """

    module: str
    line: int
    function: str
    kind: str
    before: str
    after: str
    twin: int

    def shown(self, around: int = 30) -> str:
        """What changed, with up to `around` characters on either side."""
        a, b = self.before, self.after
        start = _n_common(a, b)
        end = min(_n_common(a[::-1], b[::-1]), len(a) - start, len(b) - start)
        # whole words
        while start and (a[start - 1].isalnum() or a[start - 1] in "._"):
            start -= 1
        while end and (a[len(a) - end].isalnum() or a[len(a) - end] in "._"):
            end -= 1
        left, right = a[max(0, start - around) : start], a[len(a) - end : len(a) - end + around]
        return f"{left}[{a[start : len(a) - end]} → {b[start : len(b) - end]}]{right}"


def _n_common(a: str, b: str) -> int:
    """Length of what two texts begin with."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@dataclass(frozen=True)
class Result:
    """What became of a change: `outcome`, and the test that killed it."""

    outcome: str
    by: str = ""


# --- changes ---------------------------------------------------------------------------------------------------------


def changes(source: str, module: str) -> list[tuple[Change, Callable[[], str]]]:
    """All changes of a module, each with a function that returns the changed source."""
    found: list[tuple[Change, Callable[[], str]]] = []
    seen: Counter = Counter()
    for line, function, kind, before, after, place in _sites(ast.parse(source)):
        key = (function, before, after)
        change = Change(module, line, function, kind, before, after, twin=seen[key])
        seen[key] += 1
        found.append((change, partial(_changed, source, place)))
    return found


def _changed(source: str, place: int) -> str:
    """The source with the change at a place in the order of `_sites`."""
    tree = ast.parse(source)
    for number, (_, apply) in enumerate(_variants(tree)):
        if number == place:
            apply()
            return ast.unparse(tree) + "\n"
    raise IndexError(place)


def _sites(tree: ast.Module) -> Iterator[tuple[int, str, str, str, str, int]]:
    for place, (spot, apply) in enumerate(_variants(tree)):
        before = _head(spot.statement)
        undo = apply()
        after = _head(spot.statement)
        undo()
        if before != after:
            yield spot.node.lineno, spot.function, spot.kind, before, after, place


@dataclass(frozen=True)
class _Spot:
    node: ast.AST
    statement: ast.stmt
    function: str
    kind: str


def _head(statement: ast.stmt) -> str:
    """A statement on one line, without its body."""
    if hasattr(statement, "body"):
        statement = copy.copy(statement)
        statement.body = [ast.Pass()]
        for rest in ("orelse", "finalbody", "handlers", "decorator_list"):
            if hasattr(statement, rest):
                setattr(statement, rest, [])
        if isinstance(statement, ast.Try):
            return "try"
    return " ".join(ast.unparse(ast.fix_missing_locations(statement)).split())


def _variants(tree: ast.Module) -> Iterator[tuple[_Spot, Callable[[], Callable[[], None]]]]:
    """Every change in order; its function makes it in the tree, and returns another that takes it back."""
    for node, owner, field, statement, function in _walk(tree, tree, "", None, ""):
        for kind, new in _replacements(node, owner, field):
            yield _Spot(node, statement, function, kind), partial(_put, owner, field, node, new)


def _put(owner: ast.AST, field: str, old: ast.AST, new: ast.AST) -> Callable[[], None]:
    """Replace a child of a node."""
    value = getattr(owner, field)
    if isinstance(value, list):
        index = next(i for i, item in enumerate(value) if item is old)
        value[index] = ast.copy_location(new, old)
        return partial(value.__setitem__, index, old)
    setattr(owner, field, ast.copy_location(new, old))
    return partial(setattr, owner, field, old)


def _walk(node: ast.AST, owner: ast.AST, field: str, statement: ast.stmt | None, function: str) -> Iterator[tuple]:
    """Every node that may be changed, with its place, its statement and the function it is in."""
    if _left_out(node, owner, field):
        return
    if isinstance(node, ast.stmt):
        statement = node
    if statement is not None and field:
        yield node, owner, field, statement, function
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    for name, value in list(ast.iter_fields(node)):
        for child in list(value) if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, node, name, statement, function)


def _left_out(node: ast.AST, owner: ast.AST, field: str) -> bool:
    if field in ("annotation", "returns", "decorator_list"):
        return True
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.Assert():
            return True
        case ast.If(test=test):
            return "__name__" in ast.unparse(test) or "TYPE_CHECKING" in ast.unparse(test)
        case ast.Call(func=called):
            words = ast.unparse(called).split("(")[0].replace("[", ".").split(".")
            return words[-1] in _TELLING or any(word in _CANVASES for word in words[:-1])
        case ast.keyword(arg=name):
            return name in _LAYOUT | _NO_RESULT
    return False


def _replacements(node: ast.AST, owner: ast.AST, field: str) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in a node's place, with the kind of change."""
    match node:
        case ast.Compare(ops=operators):
            for place, operator in enumerate(operators):
                for other in COMPARISONS[type(operator)]:
                    ops = [*operators[:place], other(), *operators[place + 1 :]]
                    yield "comparison", ast.Compare(node.left, ops, node.comparators)
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC and not _joins_text(node):
            yield "arithmetic", ast.BinOp(node.left, ARITHMETIC[type(operator)](), node.right)
        case ast.AugAssign(op=operator) if type(operator) in ARITHMETIC:
            yield "arithmetic", ast.AugAssign(node.target, ARITHMETIC[type(operator)](), node.value)
        case ast.BoolOp(op=operator):
            yield "boolean", ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "boolean", operand
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "arithmetic", operand
        case ast.Break() | ast.Continue():
            yield "condition", ast.Continue() if isinstance(node, ast.Break) else ast.Break()
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            for step in (1, -1):
                yield "constant", ast.Constant(value + step)
        case ast.Constant(value=float(value)):
            # a quarter more or less: one more would be seen by far looser tests
            for factor in (1.25, 0.8):
                yield "constant", ast.Constant(value * factor if value else factor)
        case ast.Name(id=name) if name in SWAPS and field == "func":
            yield "swap", ast.Name(SWAPS[name], node.ctx)
        case ast.Attribute(attr=name) if name in SWAPS and field == "func":
            yield "swap", ast.Attribute(node.value, SWAPS[name], node.ctx)
        case ast.Slice(lower=lower, upper=upper, step=step):
            # a bound that is a number is changed as a constant
            if not isinstance(lower, ast.Constant):
                yield "slice", ast.Slice(_one_more(lower) if lower else ast.Constant(1), upper, step)
            if not isinstance(upper, ast.Constant):
                yield "slice", ast.Slice(lower, _one_more(upper) if upper else ast.Constant(-1), step)
    if (field == "test" and isinstance(owner, ast.If | ast.While | ast.IfExp)) or field == "ifs":
        yield "condition", ast.UnaryOp(ast.Not(), node)


def _joins_text(node: ast.BinOp) -> bool:
    """Whether an operator joins texts or paths: any other one there is an error at once, and tells nothing of tests."""
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        or (isinstance(side, ast.BinOp) and _joins_text(side))
        for side in sides
    )


def _one_more(node: ast.expr) -> ast.expr:
    return ast.BinOp(node, ast.Add(), ast.Constant(1))


# --- sample ----------------------------------------------------------------------------------------------------------


def sample(tree: Path, seed: int, size: int, only: list[str]) -> list[Change]:
    """Changes drawn evenly over the modules; those of one module do not depend on the others."""
    drawn: dict[str, list[Change]] = {}
    for module in modules(tree):
        kinds: dict[str, list[Change]] = {}
        for change, _ in changes((tree / module).read_text(), module):
            kinds.setdefault(change.kind, []).append(change)
        generator = random.Random(f"{seed} {module}")
        drawn[module] = []
        while kinds:
            kind = generator.choice(sorted(kinds))
            drawn[module].append(kinds[kind].pop(generator.randrange(len(kinds[kind]))))
            if not kinds[kind]:
                del kinds[kind]
    order = [module for module in drawn if not only or any(module.startswith(part) for part in only)]
    random.Random(seed).shuffle(order)
    turns = [module_changes[turn] for turn in range(size) for module_changes in _with(drawn, order, turn)]
    return sorted(turns[:size], key=lambda change: (change.module, change.line))


def _with(drawn: dict[str, list[Change]], order: list[str], turn: int) -> list[list[Change]]:
    return [drawn[module] for module in order if len(drawn[module]) > turn]


def modules(tree: Path) -> list[str]:
    """Paths of the modules that may be changed."""
    return sorted(str(path.relative_to(tree)) for package in PACKAGES for path in (tree / package).rglob("*.py"))


def same_changes(tree: Path, wanted: list[Change]) -> list[Change | None]:
    """The changes of an earlier sample where they stand now; None for what is gone."""
    now = [change for module in modules(tree) for change, _ in changes((tree / module).read_text(), module)]
    return [_same(change, now) for change in wanted]


def _same(change: Change, now: list[Change]) -> Change | None:
    equal = [new for new in now if (new.before, new.after) == (change.before, change.after)]
    name = change.function.rpartition(".")[2]
    for close in (
        [new for new in equal if (new.module, new.function) == (change.module, change.function)],
        [new for new in equal if new.function.rpartition(".")[2] == name],
        equal,
    ):
        if close:
            return next((new for new in close if new.twin == change.twin), close[0])
    return None


# --- tests -----------------------------------------------------------------------------------------------------------


@cache
def _names(path: Path) -> frozenset[str]:
    """Dotted names that a file imports, or holds as text (`python -m …`)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module} | {f"{module}.{name.name}" for name in names}
            case ast.Constant(value=str(text)) if text.startswith(PACKAGES):
                found.add(text)
    return frozenset(found)


def tests_of(tree: Path, module: str) -> list[str]:
    """Test files that name a module, nearest first; where none does, those of the modules that import it."""
    folder = tree / "tests" / Path(module).parts[0]
    files = sorted(folder.rglob("test_*.py"))
    level, seen = {module}, {module}
    while level:
        named = [path for path in files if any(_dotted(one) in _names(path) for one in level)]
        if named:
            mirror = tree / "tests" / Path(module).parent / f"test_{Path(module).stem}.py"
            named.sort(key=lambda path: (path != mirror, path.parent != mirror.parent, path.stat().st_size))
            return [str(path.relative_to(tree)) for path in named]
        level = {one for one in modules(tree) if any(_dotted(below) in _names(tree / one) for below in level)} - seen
        seen |= level
    return [str(folder.relative_to(tree))]


def _dotted(module: str) -> str:
    return module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class _Report:
    """Writes the first test that fails into a file, and takes out tests."""

    def __init__(self, file: Path, without: set[str]) -> None:
        self.file = file
        self.without = without

    def pytest_collection_modifyitems(self, items: list) -> None:
        items[:] = [item for item in items if item.nodeid not in self.without]

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            with self.file.open("a") as file:
                file.write(f"{report.nodeid}\n")


def run_tests(tree: Path, tests: list[str], without: set[str], seconds: float, stop: bool = True) -> tuple[str, str]:
    """Run tests in a fork of this process.

    Args:
        tree: Copy of the project that they run in.
        tests: Files, or names of tests.
        without: Names of tests that are not run.
        seconds: After which the tests are ended.
        stop: At the first failure.

    Returns:
        An outcome, and the tests that failed, a line each.
    """
    failed = tree.parent / "failed.txt"
    failed.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os._exit(_in_child(tree, tests, _Report(failed, without), stop))
    end = time.monotonic() + seconds
    status = None
    while status is None and time.monotonic() < end:
        done, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if done else None
        time.sleep(0 if done else 0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
        return OUT_OF_TIME, ""
    by = failed.read_text().strip() if failed.exists() else ""
    # 0: all passed, 5: none was left to run
    return (SURVIVED, "") if status in (0, 5) else (KILLED, by or f"before any test, exit {status}")


def _in_child(tree: Path, tests: list[str], report: _Report, stop: bool) -> int:
    import pytest

    os.setsid()
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    sys.path[:0] = [str(tree)]
    output = os.open(tree.parent / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdin = open(os.devnull)  # noqa: SIM115

    def pass_over(event: str, arguments: tuple) -> None:
        if event == "subprocess.Popen" and any(_SNAKEMAKE.search(str(word)) for word in arguments[1]):
            pytest.skip("starts Snakemake")

    sys.addaudithook(pass_over)
    temporary = tree.parent / "pytest"
    options = ["-q", "-m", "not slow and not training", "--timeout", "60", "--basetemp", str(temporary)]
    options += ["-p", "no:cacheprovider", "--tb", "short", *(["-x"] if stop else [])]
    try:
        return int(pytest.main([*options, *tests], plugins=[report]))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# --- the whole -------------------------------------------------------------------------------------------------------


def copy_tree(tree: Path, to: Path) -> None:
    """Copy what git knows of a working tree, changed files and new ones too, and link its .venv."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=tree,
        check=True,
        capture_output=True,
    )
    for name in sorted(set(os.fsdecode(listed.stdout).split("\0")) - {""}):
        if (tree / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, to / name)
    if (tree / ".venv").is_dir() and not (to / ".venv").exists():
        (to / ".venv").symlink_to((tree / ".venv").resolve())


def try_change(tree: Path, change: Change, without: set[str], seconds: float) -> tuple[str, str]:
    """Run the tests of a module with one change in it."""
    path = tree / change.module
    source = path.read_text()
    tests = tests_of(tree, change.module)
    make = next(make for known, make in changes(source, change.module) if known == change)
    try:
        _write(path, make())
        return run_tests(tree, tests, without, seconds)
    finally:
        _write(path, source)


def _write(path: Path, source: str) -> None:
    """Write a module; Python must not take what it compiled of one of the same size and second."""
    path.write_text(source)
    importlib.invalidate_caches()
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def measure(tree: Path, sampled: list[Change], seconds: float, note: Callable[[str], None]) -> dict[Change, Result]:
    """What becomes of each change.

    Args:
        tree: Working tree; it is copied, and stays as it is.
        sampled: Changes of it.
        seconds: Limit for the tests of one change.
        note: Is told of each change as it is done.
    """
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        there = Path(temporary).resolve() / "tree"
        copy_tree(tree, there)
        results: dict[Change, Result] = {}
        broken: set[str] = set()
        todo = list(sampled)
        while todo:
            for change in todo:
                start = time.monotonic()
                outcome, failed = try_change(there, change, broken, seconds)
                results[change] = Result(outcome, failed.partition("\n")[0])
                taken = time.monotonic() - start
                told = f"{len(results)}/{len(sampled)} {results[change].outcome:11} {taken:4.0f} s"
                note(f"{told}  {change.module}:{change.line}  {change.shown()}  {results[change].by}")
            killers = {result.by for result in results.values() if "::" in result.by} - broken
            _, failing = run_tests(there, sorted(killers), set(), 3600, stop=False) if killers else (SURVIVED, "")
            new = killers & set(failing.splitlines())
            for test in sorted(new):
                note(f"fails without any change, passed over: {test}")
            todo = [change for change, result in results.items() if result.by in new]
            broken |= new
        return results


def table(results: dict[Change, Result]) -> str:
    """Killed of sampled by room, and the changes that survived."""
    rooms: dict[str, list[str]] = {}
    for change, result in results.items():
        rooms.setdefault(str(Path(change.module).parent), []).append(result.outcome)
    rooms = dict(sorted(rooms.items())) | {"all": [result.outcome for result in results.values()]}
    lines = [f"{'room':32}{'killed':>8}{'sampled':>9}"]
    lines += [f"{room:32}{outcomes.count(KILLED):8}{len(outcomes):9}" for room, outcomes in rooms.items()]
    lines += ["", "survivors:"]
    for change, result in results.items():
        if result.outcome != KILLED:
            late = f" ({result.outcome})" if result.outcome != SURVIVED else ""
            lines.append(f"{change.module}:{change.line} {change.function}{late}\n    {change.shown(40)}")
    return "\n".join(lines)


def write_results(path: Path, results: dict[Change, Result]) -> None:
    """Write a table that `read_changes` reads."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*Change.__dataclass_fields__, *Result.__dataclass_fields__])
        writer.writeheader()
        writer.writerows(asdict(change) | asdict(result) for change, result in results.items())


def read_changes(path: Path) -> list[Change]:
    """The changes in a table that `write_results` wrote."""
    with path.open(newline="") as file:
        rows = [{name: row[name] for name in Change.__dataclass_fields__} for row in csv.DictReader(file)]
    return [replace(Change(**row), line=int(row["line"]), twin=int(row["twin"])) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=12, help="of the sample")
    parser.add_argument("--sample", type=int, default=160, help="number of changes")
    parser.add_argument("--only", nargs="*", default=[], metavar="PATH", help="modules whose paths begin so")
    parser.add_argument(
        "--again", type=Path, metavar="CSV", help="the changes of an earlier table, where they still are"
    )
    parser.add_argument("--output", type=Path, metavar="CSV", help="table of all changes and what became of them")
    parser.add_argument("--seconds", type=float, default=240, help="limit for the tests of one change")
    parser.add_argument("--list", action="store_true", help="only say what would be changed, and which tests are run")
    parser.add_argument("--cold", action="store_true", help="import nothing before the fork, for modules without torch")
    arguments = parser.parse_args()
    tree = Path(__file__).resolve().parents[1]
    if arguments.again:
        wanted = read_changes(arguments.again)
        found = same_changes(tree, wanted)
        sampled = list(dict.fromkeys(change for change in found if change is not None))
        print(f"{found.count(None)} of {len(wanted)} changes are gone")
    else:
        sampled = sample(tree, arguments.seed, arguments.sample, arguments.only)
    if arguments.list:
        for change in sampled:
            print(f"{change.module}:{change.line}  {change.shown()}\n    {' '.join(tests_of(tree, change.module))}")
        return
    # as tests/conftest.py has it, which comes too late for what is imported here
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    for name in () if arguments.cold else HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    start = time.monotonic()
    results = measure(tree, sampled, arguments.seconds, note=partial(print, flush=True))
    print(f"\nseed {arguments.seed}, {time.monotonic() - start:.0f} s\n\n{table(results)}")
    if arguments.output:
        write_results(arguments.output, results)


if __name__ == "__main__":
    main()
