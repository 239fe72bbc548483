"""Tested kernels behind the book. Import the module you need, `from pcbook import onemlp`; this one imports nothing."""


def check(name, answer):
    """Whether `answer` solves the exercise `name`, in a sentence; if not, a hint. See `pcbook.exercises.check`."""
    from pcbook import exercises  # only now: the light modules stay light

    return exercises.check(name, answer)
