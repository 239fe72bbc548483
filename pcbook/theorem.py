"""What a proof is here: steps that sympy checks, and theorems made of them.

A step is checked by algebra, by the sign sympy derives from its symbols' assumptions, or by a limit; none is
tried at sample points. Each step can make a false version of itself, which must fail to check.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from inspect import cleandoc

import sympy as sp
from sympy import Expr, Matrix


class ProofError(Exception):
    """A step that does not check; the message names theorem, step and what remains."""


def entrywise(function: Callable[[Expr], Expr], value: Expr | Matrix) -> Expr | Matrix:
    return value.applyfunc(function) if isinstance(value, sp.MatrixBase) else function(sp.sympify(value, strict=True))


def rest(lhs: Expr | Matrix, rhs: Expr | Matrix) -> Expr | Matrix | None:
    """What algebra leaves of lhs − rhs, each entry over a common denominator; None if that is nothing."""

    def reduce(entry: Expr) -> Expr:
        numerator, denominator = sp.fraction(sp.together(entry))
        return sp.simplify(sp.expand(numerator)) / denominator

    left = entrywise(reduce, lhs - rhs)
    return None if left == entrywise(lambda entry: sp.S.Zero, left) else left


def tex(expression: object) -> str:
    return sp.latex(expression, ln_notation=True, order="old")


@dataclass(frozen=True)
class Step:
    """A sentence and the formula it claims; each subclass is one way to check a formula.

    `remainder()` is None once the claim is proved, else what remains; `flipped()` is the step with a false claim;
    `left` and `right` are LaTeX names to show in place of long sides.
    """

    text: str
    lhs: Expr | Matrix
    rhs: Expr | Matrix
    left: str = ""
    right: str = ""
    checked: bool = field(default=False, kw_only=True)
    relation = "="

    def latex(self) -> str:
        return f"{self.left or tex(self.lhs)} {self.relation} {self.right or tex(self.rhs)}"

    def flipped(self) -> "Step":
        """The right side with its sign turned, or 1 where it is 0."""
        return replace(self, rhs=entrywise(lambda entry: -entry or sp.S.One, self.rhs), right="")

    def remainder(self) -> str | None:
        """What is left to prove, in words."""
        raise NotImplementedError

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"


class Equal(Step):
    """lhs = rhs: every entry of lhs − rhs simplifies to zero."""

    def remainder(self) -> str | None:
        left = rest(self.lhs, self.rhs)
        return left and f"lhs − rhs = {left}"


@dataclass(frozen=True)
class Less(Step):
    """lhs < rhs (≤ in `AtMost`): a certificate, `since`, equals rhs − lhs, and the assumptions give its sign.

    `given` writes hypotheses as symbols: {s: p − q} with s declared nonnegative is the hypothesis q ≤ p.
    """

    since: Expr | None = field(default=None, kw_only=True)
    given: dict[Expr, Expr] = field(default_factory=dict, kw_only=True)
    relation = "<"
    sign = "positive"

    def remainder(self) -> str | None:
        difference = sp.sympify(self.rhs - self.lhs, strict=True)
        certificate = difference if self.since is None else self.since
        if left := rest(difference.subs(self.given), certificate.subs(self.given)):
            return f"rhs − lhs − certificate = {left}"
        known = getattr(certificate, f"is_{self.sign}")
        return None if known else f"{certificate} is {'not' if known is False else 'not known to be'} {self.sign}"

    def latex(self) -> str:
        why = "" if self.since is None else rf", \quad\text{{the difference being}}\quad {tex(self.since)}"
        return super().latex() + why + "".join(rf", \quad {tex(s)} = {tex(e)}" for s, e in self.given.items())

    def flipped(self) -> "Less":
        """The negation: rhs ≤ lhs for <, rhs < lhs for ≤."""
        negation, since = AtMost if type(self) is Less else Less, None if self.since is None else -self.since
        return negation(self.text, self.rhs, self.lhs, self.right, self.left, since=since, given=self.given)


class AtMost(Less):
    relation = r"\le"
    sign = "nonnegative"


@dataclass(frozen=True)
class Limit(Step):
    """lhs → rhs as `to` = (symbol, point), computed by sympy; at a finite point from the right."""

    to: tuple[Expr, Expr] = field(kw_only=True)

    def remainder(self) -> str | None:
        value = sp.sympify(self.lhs, strict=True).limit(*self.to)
        return None if value == self.rhs or rest(value, self.rhs) is None else f"the limit is {value}"

    def latex(self) -> str:
        return rf"\lim_{{{tex(self.to[0])} \to {tex(self.to[1])}}} {super().latex()}"


@dataclass
class Theorem:
    """A statement, what it assumes, and the steps that prove it."""

    name: str
    title: str
    statement: str
    source: str
    assumptions: str
    steps: list[Step]

    def prove(self) -> list[Step]:
        """The steps, all checked; raises `ProofError` at the first that does not check."""
        for i, step in enumerate(self.steps):
            if remainder := step.remainder():
                raise ProofError(f"{self.name}, step {i} ({step.text}): {remainder}")
            self.steps[i] = replace(step, checked=True)
        return list(self.steps)

    def flipped(self, i: int) -> "Theorem":
        """A copy in which step i claims something false: a negative control for `prove`."""
        steps = [replace(step, checked=False) for step in self.steps]
        steps[i] = steps[i].flipped()
        return replace(self, steps=steps)

    def _repr_markdown_(self) -> str:
        rows = [f"**{self.title}** ({self.source})", self.statement, f"*Assumptions:* {self.assumptions}."]
        for i, step in enumerate(self.steps, 1):
            rows.append(f"{i}. {step.text}{' ✓' if step.checked else ''}\n\n   $$\n   {step.latex()}\n   $$")
        return "\n\n".join(rows)


def collector(
    theorems: dict[str, Theorem], usual: str = ""
) -> Callable[..., Callable[[Callable[[], Iterator[Step]]], Theorem]]:
    """A decorator that puts theorems into the dict `theorems`; `usual` are the assumptions unless others are given.

    It takes a function that yields steps: its docstring is the statement, its name the theorem's.
    """

    def theorem(title: str, source: str, assumptions: str = usual) -> Callable[[Callable[[], Iterator[Step]]], Theorem]:
        def register(steps: Callable[[], Iterator[Step]]) -> Theorem:
            name = steps.__name__.replace("_", "-")
            theorems[name] = Theorem(name, title, cleandoc(steps.__doc__ or ""), source, assumptions, list(steps()))
            return theorems[name]

        return register

    return theorem
