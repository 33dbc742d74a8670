"""What a large set costs, and what holds it up: `python bench/scaling.py --images 10000000 --nodes 4 ...`.

A calculation from measured rates, given as options: bench/prepare.py, bench/predict.py and bench/train.py
print them for a machine. Each stage takes as long as its slowest resource; the one with the longest time is
the bottleneck. What is left out: start-up, stragglers, and the exchange of gradients between machines.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

GB = 1e9


@dataclass(frozen=True)
class Stage:
    """Hours that each resource needs for a stage if the others are free."""

    name: str
    hours: dict[str, float]

    @property
    def bottleneck(self) -> str:
        return max(self.hours, key=lambda resource: self.hours[resource])


def main() -> None:
    given = arguments()
    cache = given.images * given.side**2
    machine = f"{given.cores} cores, {given.gpus} GPUs, {given.memory:g} GB"
    print(
        f"{given.images:,} images; cache {cache / GB:,.0f} GB at {given.side} px; {given.nodes} x {machine}"
    )
    print("| stage | hours | bottleneck | hours that each resource needs |")
    print("|---|---|---|---|")
    for stage in (prepare(given), predict(given), train(given, cache)):
        parts = ", ".join(f"{name} {hours:.2f}" for name, hours in stage.hours.items())
        print(f"| {stage.name} | {stage.hours[stage.bottleneck]:.2f} | {stage.bottleneck} | {parts} |")
    if given.gpus:
        feeding = given.gpu_infer / given.decode
        print(
            f"Cores that decode for one GPU that predicts: {feeding:.0f} (here {given.cores / given.gpus:g})."
        )
    where = "stays in each machine's memory" if fits(given, cache) else "is read from storage every epoch"
    print(f"The cache {where}: batches are drawn from all of it.")


def fits(given: argparse.Namespace, cache: int) -> bool:
    return bool(cache < 0.7 * given.memory * GB)


def prepare(given: argparse.Namespace) -> Stage:
    """Decode, equalise, resize; the leak gate compares every two pictures, on one core."""
    work = {"decode": hours(given.images, given.decode * cores(given)), "storage": reading(given)}
    return Stage("prepare", work | {"pairs": hours(given.images**2 / 2, given.pairs * given.cores)})


def predict(given: argparse.Namespace) -> Stage:
    """Decode and infer: on the same cores, or on cores and GPUs side by side."""
    if given.gpus:
        infer = hours(given.images, given.gpu_infer * given.gpus * given.nodes)
        work = {"decode": hours(given.images, given.decode * cores(given)), "GPU": infer}
    else:
        both = 1 / (1 / given.decode + 1 / given.infer)
        work = {"decode and network": hours(given.images, both * cores(given))}
    return Stage("predict", {**work, "storage": reading(given)})


def train(given: argparse.Namespace, cache: int) -> Stage:
    """`epochs` times over the cache; a machine reads it once where it stays in memory, else every epoch."""
    rate = given.gpu_train * given.gpus if given.gpus else given.train * given.cores
    network = hours(given.images * given.epochs, rate * given.nodes)
    times = given.nodes if fits(given, cache) else given.epochs
    stored = cache * times / (given.storage * GB) / 3600
    return Stage(
        f"train, {given.epochs} epochs", {"GPU" if given.gpus else "cores": network, "storage": stored}
    )


def cores(given: argparse.Namespace) -> int:
    return int(given.cores * given.nodes)


def hours(count: float, rate: float) -> float:
    return count / rate / 3600


def reading(given: argparse.Namespace) -> float:
    """Hours to read every original once from storage that all machines share."""
    return float(given.images * given.bytes / (given.storage * GB) / 3600)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--bytes", type=float, default=560_000, help="of one original on disk")
    parser.add_argument("--side", type=int, default=224, help="pixels of a cached image")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2, help="of one machine")
    parser.add_argument("--gpus", type=int, default=0, help="of one machine")
    parser.add_argument("--memory", type=float, default=24, help="GB of one machine")
    parser.add_argument("--storage", type=float, default=1.0, help="GB/s of the storage that all share")
    parser.add_argument("--decode", type=float, default=99, help="images/s a core: prepare, decode to cache")
    parser.add_argument(
        "--pairs", type=float, default=1.4e8, help="perceptual hashes compared a second by a core"
    )
    parser.add_argument("--infer", type=float, default=20, help="images/s a core: the network alone")
    parser.add_argument("--train", type=float, default=1.0, help="primary images/s a core")
    parser.add_argument(
        "--gpu-infer", type=float, default=2000, help="images/s a GPU (assumed: never measured)"
    )
    parser.add_argument("--gpu-train", type=float, default=250, help="primary images/s a GPU (assumed)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
