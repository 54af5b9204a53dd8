"""Mutants of a file: small faults, one at a time.

The kinds are mutmut's (a comparison, a number, a flag, ...) and those below that say most about
decisions: a condition that always holds or never, a part of AND or OR alone, an entry of a table
left out, a call not made. Switched off is what decides nothing: the texts of errors and reasons
(what is raised, f-strings, strings of several words), docstrings, annotations, the default values
of parameters, ``__repr__``; and what nearly always fails at once: None instead of a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import PositionProvider, WhitespaceInclusivePositionProvider
from mutmut.mutation import mutators

_SWAPPED = {"any": "all", "all": "any", "min": "max", "max": "min"}
_SKIPPED = (cst.Annotation, cst.Assert, cst.Decorator, cst.FormattedString, cst.Import)
_SKIPPED += (cst.ImportFrom, cst.Parameters, cst.Raise)
#: Arguments that say what an error tells, or that lists are of one length, as they are.
_SAYING = frozenset({"code", "detail", "hint", "message", "pgcode", "reason", "strict"})
_NOT_ENTERED = frozenset({"isinstance", "len", "cast", "warn", "__repr__", "__str__"})
_TRUE, _FALSE = cst.Name("True"), cst.Name("False")


@dataclass(frozen=True)
class Mutant:
    """A file with one fault.

    Attributes:
        path: Of the file.
        where: The function's qualified name, or the module's constant.
        old, new: The lines that differ, without line breaks.
        number: Counts mutants that would look the same.
        lines: Those that a test must run to notice.
        source: The whole text.
        is_constant: Whether it is in a module's constant.
    """

    path: str
    where: str
    old: str
    new: str
    number: int
    lines: range
    source: str
    is_constant: bool

    @property
    def name(self) -> str:
        """What tells it from all others, also when lines are added elsewhere."""
        again = f" (no. {self.number})" if self.number > 1 else ""
        return f"{self.path} {self.where}{again}\n- {self.old}\n+ {self.new}"


def mutants_of(path: str) -> list[Mutant]:
    """All mutants of a file, in the order of their places."""
    source = Path(path).read_text("utf-8")
    wrapper = cst.MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    finder = _Finder(path, source, wrapper.module)
    wrapper.visit(finder)
    return finder.found


def _operands(node: cst.BooleanOperation) -> Iterator[cst.CSTNode]:
    """A part of AND or OR alone."""
    for part in (node.left, node.right):
        yield (
            part
            if part.lpar
            else part.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        )


def _swapped(node: cst.Call) -> Iterator[cst.CSTNode]:
    if isinstance(node.func, cst.Name) and node.func.value in _SWAPPED:
        yield node.with_changes(func=cst.Name(_SWAPPED[node.func.value]))


def _not_made(node: cst.Expr) -> Iterator[cst.CSTNode]:
    if isinstance(node.value, cst.Call | cst.Yield):
        yield cst.Pass()


def _shorter(node: Any) -> Iterator[cst.CSTNode]:
    """One entry less; an empty set would be a dictionary."""
    entries = list(node.elements)
    for at in range(len(entries) if len(entries) > 1 else 0):
        rest = entries[:at] + entries[at + 1 :]
        rest[-1] = rest[-1].with_changes(comma=cst.Comma())
        yield node.with_changes(elements=rest)


def _membership(node: cst.ComparisonTarget) -> Iterator[cst.CSTNode]:
    if isinstance(node.operator, cst.In | cst.NotIn) and isinstance(
        node.comparator, cst.Tuple | cst.List
    ):
        for shorter in _shorter(node.comparator):
            yield node.with_changes(comparator=shorter)


def _string(node: cst.SimpleString) -> Iterator[cst.CSTNode]:
    """Another word; a text of several is for people, or a pattern."""
    if node.quote in {'"', "'"} and " " not in node.value:
        yield node.with_changes(value=f"{node.prefix}{node.quote}XX{node.raw_value}{node.quote}")


def _left_out(node: cst.Call) -> Iterator[cst.CSTNode]:
    """An argument of a name less: it has a default, or the call fails at once."""
    for at, argument in enumerate(node.args):
        if argument.keyword is not None and argument.keyword.value not in _SAYING:
            yield node.with_changes(args=[*node.args[:at], *node.args[at + 1 :]])


_KEYWORDS = (cst.In, cst.NotIn, cst.Is, cst.IsNot, cst.Break, cst.Continue)
_OPERATIONS = (cst.AugAssign, cst.BinaryOperation, cst.ComparisonTarget, cst.UnaryOperation)
_EVERYWHERE = [
    (cst.BaseNumber, mutators.operator_number),
    (cst.Name, mutators.operator_name),
    (cst.AugAssign, mutators.operator_augmented_assignment),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.Call, mutators.operator_symmetric_string_methods_swap),
    (cst.Call, mutators.operator_unsymmetrical_string_methods_swap),
    (_KEYWORDS, mutators.operator_keywords),
    (_OPERATIONS, mutators.operator_swap_op),
    (cst.IfExp, mutators.operator_if_exp),
    (cst.BooleanOperation, _operands),
    (cst.Call, _left_out),
    (cst.Call, _swapped),
    (cst.Set, _shorter),
    (cst.ComparisonTarget, _membership),
    (cst.SimpleString, _string),
]
_IN_FUNCTIONS = [*_EVERYWHERE, (cst.Expr, _not_made)]
_IN_CONSTANTS = [
    *_EVERYWHERE,
    (cst.Tuple, _shorter),
    (cst.List, _shorter),
    (cst.Dict, _shorter),
]


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider, WhitespaceInclusivePositionProvider)

    def __init__(self, path: str, source: str, module: cst.Module) -> None:
        super().__init__()
        self.found: list[Mutant] = []
        self._path, self._source, self._module = path, source, module
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._names: list[str] = []
        self._functions = 0
        self._constant = ""
        self._seen: Counter[tuple[str, str, str]] = Counter()

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.ClassDef | cst.FunctionDef):
            self._names.append(node.name.value)
            self._functions += isinstance(node, cst.FunctionDef)
        if isinstance(node, _SKIPPED) or self._is_left_out(node):
            return False
        if isinstance(node, cst.Assign | cst.AnnAssign) and not self._names:
            target = node.targets[0].target if isinstance(node, cst.Assign) else node.target
            if isinstance(target, cst.Name) and target.value.isupper():
                self._constant = target.value
        if self._functions or self._constant:
            for kind, mutate in _IN_FUNCTIONS if self._functions else _IN_CONSTANTS:
                if isinstance(node, kind):
                    self._add(node, mutate(node))
            if isinstance(node, cst.If | cst.CompIf):
                self._add(node.test, (_TRUE, _FALSE))
            elif isinstance(node, cst.While):
                self._add(node.test, (_FALSE,))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.ClassDef | cst.FunctionDef):
            self._names.pop()
            self._functions -= isinstance(original_node, cst.FunctionDef)
        elif isinstance(original_node, cst.Assign | cst.AnnAssign) and not self._names:
            self._constant = ""

    def _is_left_out(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Call):
            name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
            return isinstance(name, cst.Name) and name.value in _NOT_ENTERED
        if isinstance(node, cst.FunctionDef):
            return node.name.value in _NOT_ENTERED
        if isinstance(node, cst.Arg):
            return node.keyword is not None and node.keyword.value in _SAYING
        if isinstance(node, cst.Element):
            return isinstance(node.value, cst.SimpleString)  # it is left out as a whole
        return isinstance(node, cst.Expr) and isinstance(node.value, cst.BaseString)

    def _add(self, node: cst.CSTNode, mutated: Iterable[cst.CSTNode]) -> None:
        if not (texts := [self._module.code_for_node(each) for each in mutated]):
            return
        span = self.get_metadata(WhitespaceInclusivePositionProvider, node)
        code = self.get_metadata(PositionProvider, node)
        start = self._starts[span.start.line - 1] + span.start.column
        end = self._starts[span.end.line - 1] + span.end.column
        # One in parentheses of its own may begin and end on other lines than its code.
        first = self._starts[min(span.start.line, code.start.line) - 1]
        last = self._starts[max(span.end.line, code.end.line)]
        for text in texts:
            source = self._source[:start] + text + self._source[end:]
            old = " ".join(self._source[first:last].split())
            new = " ".join(source[first : len(source) - (len(self._source) - last)].split())
            if old == new:
                continue
            where = self._constant or ".".join(self._names)
            self._seen[where, old, new] += 1
            self.found.append(
                Mutant(
                    self._path,
                    where,
                    old,
                    new,
                    self._seen[where, old, new],
                    range(code.start.line, code.end.line + 1),
                    source,
                    bool(self._constant),
                )
            )
