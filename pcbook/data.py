"""The data the paper trains on. So far the toy regression y = m x of its appendices A.1 and A.4."""

import numpy as np

from pcbook import checks

# "N(1, 0.1)" does not say whether 0.1 is the standard deviation or the variance: both readings.
SPREADS = {"standard deviation": 0.1, "variance": float(np.sqrt(0.1))}


def toy_batches(generator, steps, runs=1, slope=-1.0, spread=0.1, size=64):
    """`steps` mini-batches (x, y), each (runs, size), with x ~ N(1, spread²) and y = slope · x.

    `spread` is the standard deviation; `generator` is a `numpy.random.Generator`.
    """
    checks.scalar("spread", spread), checks.nonzero("slope", slope)
    steps, runs, size = (checks.count(*item) for item in (("steps", steps), ("runs", runs), ("size", size)))
    if not isinstance(generator, np.random.Generator):
        raise ValueError(f"generator = {generator!r}: must be a numpy.random.Generator")
    if size == 0:
        raise ValueError("size = 0: a batch must hold at least one sample")

    def draw():
        x = generator.normal(1.0, spread, size=(runs, size))
        return x, slope * x

    return (draw() for _ in range(steps))
