"""The data the paper trains on. So far the toy regression y = m x of its appendices A.1 and A.4."""

import numpy as np

from pcbook import checks

# "N(1, 0.1)" does not say whether 0.1 is the standard deviation or the variance: both readings.
SPREADS = {"standard deviation": 0.1, "variance": float(np.sqrt(0.1))}


def toy_batches(generator, steps, runs=1, slope=-1.0, spread=0.1, size=64):
    """`steps` mini-batches (x, y), each (runs, size), with x ~ N(1, spread²) and y = slope · x.

    `spread` is the standard deviation; `generator` is a `numpy.random.Generator`.
    """
    checks.positive("spread", spread), checks.nonzero("slope", slope)
    for _ in range(checks.count("steps", steps)):
        x = generator.normal(1.0, spread, size=(runs, size))
        yield x, slope * x
