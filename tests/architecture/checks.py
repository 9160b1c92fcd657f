"""The checks behind test_boundaries.py and test_style.py: each takes one file and tells every finding as ``file:line what``."""

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from tests.architecture.repository import Source

Check = Callable[[Source], list[str]]

DYNAMIC_IMPORTS = {
    *("__import__", "eval", "exec", "import_module", "run_module", "run_path"),
    *("exec_module", "load_module", "spec_from_file_location", "resolve_name", "pkgutil.resolve_name"),
}
CLOCKS = {
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"),
    *("time.clock_gettime", "time.clock_gettime_ns", "sqlalchemy.func.now", "sqlalchemy.func.current_timestamp"),
}
# They read the clock when they are called with fewer arguments than this.
CLOCKS_BY_DEFAULT = {"time.gmtime": 1, "time.localtime": 1, "time.ctime": 1, "time.asctime": 1, "time.strftime": 2}


def dynamic_imports(source: Source) -> list[str]:
    """Calls that import or run code that no import statement names. Goes by the called name, so ``exec`` of anything counts."""
    return _report(
        source,
        ((node, _called(node)) for node in _nodes(source) if isinstance(node, ast.Call)),
        lambda name: name in DYNAMIC_IMPORTS,
    )


def imports_of(package: str) -> Check:
    """A check that finds imports of a package or of anything in it, at any depth of the file."""

    def check(source: Source) -> list[str]:
        return _report(source, _imported(source), lambda name: name == package or name.startswith(f"{package}."))

    return check


def clock_reads(source: Source) -> list[str]:
    """Uses of the system's or the database's clock, called or handed on, under whatever name they were imported."""
    aliases = _aliases(source)
    named = [(node, _dotted(node, aliases)) for node in _nodes(source) if isinstance(node, ast.Name | ast.Attribute)]
    by_default = [
        (node, name)
        for node in _nodes(source)
        if isinstance(node, ast.Call)
        and (name := _dotted(node.func, aliases)) in CLOCKS_BY_DEFAULT
        and len(node.args) < CLOCKS_BY_DEFAULT[name]
    ]
    return _report(source, named, lambda name: name in CLOCKS) + _report(source, by_default, lambda _: True)


def prints(source: Source) -> list[str]:
    """Calls of ``print``: it bypasses the scrubber."""
    calls = (node.func for node in _nodes(source) if isinstance(node, ast.Call))
    return _report(
        source, ((name, name.id) for name in calls if isinstance(name, ast.Name)), lambda id_: id_ == "print"
    )


def asserts(source: Source) -> list[str]:
    """``assert`` statements: ``python -O`` takes them out."""
    return _report(source, ((n, "assert") for n in _nodes(source) if isinstance(n, ast.Assert)), lambda _: True)


def unguarded_threads(source: Source) -> list[str]:
    """Work given to threads past audit/threads.py: a StopIteration in it would never come back."""
    aliases = _aliases(source)
    named = [(node, _dotted(node, aliases)) for node in _nodes(source) if isinstance(node, ast.Name | ast.Attribute)]
    given = [
        (node, "run_in_executor")
        for node in _nodes(source)
        if isinstance(node, ast.Call)
        and _called(node) == "run_in_executor"
        and not (len(node.args) > 1 and isinstance(node.args[1], ast.Call) and _called(node.args[1]) == "for_thread")
    ]
    return _report(source, named, lambda name: name == "asyncio.to_thread") + _report(source, given, lambda _: True)


def float_money(source: Source) -> list[str]:
    """Amounts in minor units that are declared, made or turned into floats."""
    return _report(source, _float_money(source), lambda _: True)


def _float_money(source: Source) -> Iterator[tuple[ast.AST, str]]:
    for node in _nodes(source):
        match node:
            case ast.AnnAssign(target=target, annotation=annotation) if _is_amount(target) and _says_float(annotation):
                yield node, "amount annotated float"
            case ast.arg(arg=name, annotation=ast.expr() as annotation) if _is_minor(name) and _says_float(annotation):
                yield node, "amount annotated float"
            case ast.FunctionDef(name=name, returns=ast.expr() as returns) if _is_minor(name) and _says_float(returns):
                yield node, "amount annotated float"
            case ast.Call(func=ast.Name(id="float"), args=[value]) if any(map(_is_amount, ast.walk(value))):
                yield node, "float() of an amount"
            case ast.BinOp(left=left, op=ast.Div(), right=right) if _is_amount(left) or _is_amount(right):
                yield node, "true division of an amount"
            case ast.BinOp(left=left, op=ast.Mult(), right=right) if (_is_amount(left) and _is_float(right)) or (
                _is_float(left) and _is_amount(right)
            ):
                yield node, "amount times a float"


def _is_minor(name: str) -> bool:
    return name.endswith("_minor")


def _is_amount(node: ast.AST) -> bool:
    return _is_minor(getattr(node, "id", None) or getattr(node, "attr", None) or "")


def _is_float(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, float)


def _says_float(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "float" for node in ast.walk(annotation))


@cache
def _nodes(source: Source) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(source.text)))


def _report(source: Source, found: Iterable[tuple[ast.AST, str]], is_fault: Callable[[str], bool]) -> list[str]:
    return [f"{source.path}:{getattr(node, 'lineno', 0)} {name}" for node, name in found if is_fault(name)]


def _called(call: ast.Call) -> str:
    return getattr(call.func, "id", None) or getattr(call.func, "attr", None) or ""


def _imported(source: Source) -> Iterator[tuple[ast.AST, str]]:
    for node in _nodes(source):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, node.module or ""


def _aliases(source: Source) -> dict[str, str]:
    """What each imported name stands for: ``from time import time as now`` gives ``now`` -> ``time.time``."""
    aliases: dict[str, str] = {}
    for node in _nodes(source):
        if isinstance(node, ast.Import):
            aliases |= {a.asname: a.name for a in node.names if a.asname}
            aliases |= {(first := a.name.split(".")[0]): first for a in node.names if not a.asname}
        elif isinstance(node, ast.ImportFrom):
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return aliases


def _dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """The full name of ``a.b.c`` where ``a`` is imported, or an empty string."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, "")
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value, aliases)):
        return f"{owner}.{node.attr}"
    return ""
