"""The settings that every benchmark shares, what is recorded about them, and the networks and data it runs on."""

import argparse
import sys
from pathlib import Path

import torch

from pcbook import data, network, records

RECORDS = Path(__file__).parent.parent / "book" / "records"


def parser(description, record):
    """The arguments that all benchmarks take. `record` is the name of the record they write."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    result.add_argument("--quick", action="store_true", help="a small trial of every part; nothing is recorded")
    result.add_argument("--device", default="cpu", help="cpu or cuda")
    result.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch, and of each peer")
    result.add_argument("--seed", type=int, default=0, help="of the weights")
    result.add_argument("--rounds", type=int, default=30, help="measurements of each fast step")
    result.add_argument("--output", type=Path, default=RECORDS / f"{record}.json", help="where the record goes")
    return result


def prepare(options):
    """Set torch's threads; stop where there is no such device."""
    torch.set_num_threads(options.threads)
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: torch finds no GPU here")


def describe(options, **more):
    """The record's environment."""
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return records.describe(("torch", "numpy"), name, torch.get_num_threads()) | more


def images(name, device):
    """Training images, standardised, and one-hot targets, float32, and the SHA-256 digest of the images and labels."""
    train = {"mnist": data.mnist, "digits": data.digits}[name]()[0]
    x, y = data.standardised(train.images), data.one_hot(train.labels)
    return x, y, {name: records.digest_of(train.images.tobytes(), train.labels.tobytes())}


def sizes_of(text):
    """[784, 500, …, 500, 10] from "784-500x10-10"."""
    counts = [(part + "x1").split("x")[:2] for part in text.split("-")]
    return [int(width) for width, times in counts for _ in range(int(times))]


def net(sizes, activation, options, scheme="default"):
    """A network at its initialisation."""
    weights = network.init_weights(sizes, options.seed, scheme)
    return network.PCN([w.to(options.device) for w in weights], activation)
