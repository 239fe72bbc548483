"""Tested kernels behind the book. Import the module you need, `from pcbook import onemlp`; this one imports nothing."""


def check(name: str, answer: object) -> object:
    """Says whether `answer` solves the exercise `name`; if not, names the slip where it knows it, or gives a hint.

    The reply is true if the answer is right. `answer` is a number, an array, a function or a sympy expression: the
    exercise says which. Raises `ValueError` for an unknown name and for something that cannot be an answer.

    >>> check("saddle-and-minima-twice", 2.0)
    Not yet. That is ρ itself, the ratio of the rates. Which q belongs to it?
    """
    from pcbook import exercises  # only now: the light modules stay light

    return exercises.check(name, answer)
