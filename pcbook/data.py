"""The data the paper trains on: the toy regression y = m x of its appendices A.1 and A.4, MNIST, and stand-ins."""

from collections.abc import Iterator
from os import PathLike
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from pcbook import checks, images

# "N(1, 0.1)" does not say whether 0.1 is the standard deviation or the variance: both readings.
SPREADS = {"standard deviation": 0.1, "variance": float(np.sqrt(0.1))}


def toy_batches(
    generator: np.random.Generator, steps: int, runs: int = 1, slope: float = -1.0, spread: float = 0.1, size: int = 64
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`steps` mini-batches (x, y), each (runs, size), with x ~ N(1, spread²) and y = slope · x.

    `spread` is the standard deviation; `generator` is a `numpy.random.Generator`.
    """
    checks.scalar("spread", spread), checks.nonzero("slope", slope)
    steps, runs, size = (checks.count(*item) for item in (("steps", steps), ("runs", runs), ("size", size)))
    if not isinstance(generator, np.random.Generator):
        raise ValueError(f"generator = {generator!r}: must be a numpy.random.Generator")
    if size == 0:
        raise ValueError("size = 0: a batch must hold at least one sample")

    def draw() -> tuple[np.ndarray, np.ndarray]:
        x = generator.normal(1.0, spread, size=(runs, size))
        return x, slope * x

    return (draw() for _ in range(steps))


class Images(NamedTuple):
    """Images (N, height, width) and their labels (N,), 0 … 9: uint8, read-only."""

    images: np.ndarray
    labels: np.ndarray


def mnist(folder: str | PathLike[str] | None = None, name: str = "mnist") -> tuple[Images, Images]:
    """The 60,000 training and 10,000 test `Images` (N, 28, 28) of MNIST, or of Fashion-MNIST (`name="fashion_mnist"`).

    The files come from `folder`, or the one in the environment variable PCBOOK_DATA; without either from the cache,
    or else a download. Every file is checked by its SHA-256. `ValueError` if one is not the original,
    `FileNotFoundError` if it cannot be had.
    """
    train, test = (
        Images(
            images.read(name, f"{part}-images-idx3-ubyte", folder),
            images.read(name, f"{part}-labels-idx1-ubyte", folder),
        )
        for part in ("train", "t10k")
    )
    return train, test


def digits() -> tuple[Images, Images]:
    """The 1,500 training and 297 test `Images` (N, 8, 8), pixels 0 … 16, of scikit-learn's digits 8×8. No network.

    These are smaller and easier than MNIST. The set comes without a split: the last 297 are ours to test with.
    """
    from sklearn.datasets import load_digits  # here, because the package must import without it in a browser

    whole = load_digits()
    pixels, labels = whole.images.astype(np.uint8), whole.target.astype(np.uint8)
    pixels.setflags(write=False), labels.setflags(write=False)
    return Images(pixels[:1500], labels[:1500]), Images(pixels[1500:], labels[1500:])


def standardised(pixels: np.ndarray, reference: np.ndarray | None = None, dtype: DTypeLike = np.float32) -> np.ndarray:
    """The images (N, height, width) as flat inputs (N, height · width) of `dtype`, (pixel − mean) / standard deviation.

    Mean and standard deviation are those of all pixels of `reference`: the training images, for the test images too.
    Without it, those of `pixels`. `ValueError` unless both hold uint8 and the reference more than one value.
    """
    reference = pixels if reference is None else reference
    for name, value in (("pixels", pixels), ("reference", reference)):
        if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim < 2 or value.size == 0:
            raise ValueError(f"{name} = {value!r}: must be a uint8 array of shape (N, height, width)")
    values = np.arange(256.0)
    share = np.bincount(reference.reshape(-1), minlength=256) / reference.size
    mean = share @ values
    deviation = np.sqrt(share @ (values - mean) ** 2)
    if deviation == 0:
        raise ValueError(f"reference holds {reference.flat[0]} only: its standard deviation is 0")
    table = ((values - mean) / deviation).astype(_floating(dtype))
    return table[pixels.reshape(len(pixels), -1)]


def one_hot(labels: ArrayLike, classes: int = 10, dtype: DTypeLike = np.float32) -> np.ndarray:
    """The targets (N, classes) of the labels (N,): 1 at the label and 0 elsewhere."""
    labels, classes = np.asarray(labels), checks.count("classes", classes)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels = {labels!r}: must be whole numbers of shape (N,)")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels holds {labels.min()} … {labels.max()}: must lie in 0 … {classes - 1}")
    return np.eye(classes, dtype=_floating(dtype))[labels]


def batches(
    x: ArrayLike, y: ArrayLike, size: int, seed: int | tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch: mini-batches (x, y) of `size` rows in shuffled order, every row once; the last may be smaller.

    The order depends on `seed` alone, a whole number or a tuple of them: `seed=(run, epoch)` gives every epoch of
    every run its own order, also after an interruption.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
        raise ValueError(f"x {x.shape} and y {y.shape}: must hold the same number of rows, at least one")
    if checks.count("size", size) == 0:
        raise ValueError("size = 0: a batch must hold at least one sample")
    parts = seed if isinstance(seed, tuple) and seed else (seed,)
    first, *rest = (checks.count("seed", part) for part in parts)
    sequence = np.random.SeedSequence(first, spawn_key=rest)  # tells (1, 0) from 1, as default_rng((1, 0)) does not
    order = np.random.default_rng(sequence).permutation(len(x))
    return ((x[order[i : i + size]], y[order[i : i + size]]) for i in range(0, len(x), size))


def _floating(dtype: DTypeLike) -> DTypeLike:
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype = {dtype!r}: must be float32 or float64")
    return dtype
