"""Speed of training at the published sizes: `python benchmarks/training_step.py --help`.

For each detector and each way to compute (fp32, bf16, channels-last, compiled): images per second of a training step
(forward, losses, gradients, optimiser; SBI's two passes count as one step), its ratio to fp32 of the same run, and on a
GPU the peak memory. Steps are timed one by one after a warm-up, all ways taking turns, and the fastest counts. Then the
share of the time that a training waits for its loader, and how long an epoch of 250,000 samples takes to begin.

The crops come from a store, such as the one that the demonstration makes:

    python benchmarks/training_step.py --data data --dataset ff_synthetic
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from detectors.data.loader import EpochSampler, default_workers, make_loader
from detectors.data.samples import Samples, training_methods
from detectors.families.registry import detector_class
from detectors.networks.detector import NetworkDetector
from detectors.networks.trainer import prepare_to_compute
from preprocess.running.device import pick_device
from preprocess.running.settings import load_settings

# Family and settings of each published size; weights are random, which costs the same time.
PUBLISHED = {
    "ucf": ("ucf", {"size": 256, "batch_size": 16}),
    "spsl": ("spsl", {"size": 256, "batch_size": 32}),
    "sbi": ("sbi", {"size": 380, "batch_size": 16}),
    "lav": ("lav", {"size": 299, "batch_size": 16}),
    "efficientnet_b4": (
        "classifier",
        {"backbone": "tf_efficientnet_b4", "size": 380, "batch_size": 32, "augmentation": "default"},
    ),
}
WAYS = {
    "fp32": {},
    "fp32 channels-last": {"channels_last": True},
    "bf16": {"precision": "bf16-mixed"},
    "bf16 channels-last": {"precision": "bf16-mixed", "channels_last": True},
    "bf16 channels-last compiled": {"precision": "bf16-mixed", "channels_last": True, "compile": True},
}
EPOCH_SAMPLES = 250_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the store (default: data)")
    parser.add_argument("--dataset", default="ff_synthetic", help="default: %(default)s")
    parser.add_argument("--detectors", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="default: all on a GPU, those of fp32 on a CPU")
    parser.add_argument("--size", type=int, help="another side of the input than the published one, in pixels")
    parser.add_argument("--batch-size", type=int, help="another batch than the published one")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each way (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes that read crops (default: as training has them)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()

    device = pick_device(args.device)
    if device == "cpu":
        torch.set_num_threads(args.threads)
    ways = args.ways or [way for way in WAYS if device != "cpu" or way.startswith("fp32")]
    samples = Samples.read([args.data / "samples" / f"{args.dataset}.parquet"])
    samples = samples[np.flatnonzero((samples.label >= 0) & samples.split.equals("train"))]
    print(f"device: {torch.cuda.get_device_name(device) if device != 'cpu' else f'CPU, {args.threads} threads'}\n")
    results = {}
    for name in args.detectors:
        try:
            results[name] = _measure(name, samples, args, ways, device)
        except torch.cuda.OutOfMemoryError as error:
            print(f"{name}: out of memory ({error})")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def _measure(name: str, samples: Samples, args: argparse.Namespace, ways: list[str], device: str) -> dict:
    peaks = {way: _peak_bytes(name, samples, args, WAYS[way], device) for way in ways}
    runs = {way: _Steps(name, samples, args, WAYS[way], device) for way in ways}
    for run in runs.values():
        run.warm_up()
    for _ in range(args.steps):
        for run in runs.values():
            run.step()
    first = next(iter(runs.values()))
    print(f"{name}: {first.n_crops} crops of {first.detector.settings.size} px in a step")
    print(f"  {'':<28}{'images/s':>10}{'ratio':>8}{'peak GiB':>10}")
    result = {}
    base = first.n_crops / min(first.seconds)
    for way, run in runs.items():
        rate = run.n_crops / min(run.seconds)
        peak = "" if device == "cpu" else f"{peaks[way] / 2**30:.1f}"
        print(f"  {way:<28}{rate:>10.1f}{rate / base:>8.2f}{peak:>10}")
        result[way] = {"images_per_second": rate, "ratio": rate / base, "peak_bytes": peaks[way]}
    last = runs[ways[-1]]
    workers = default_workers(args.threads, device) if args.workers is None else args.workers
    waited = _loader_share(last, workers)
    begin = _epoch_begin(last, samples, workers)
    print(f"  waiting for the loader ({workers} workers, {ways[-1]}): {waited:.1%} of the time")
    print(f"  first batch of an epoch of {EPOCH_SAMPLES:,} samples after {begin:.1f} s\n")
    return {"ways": result, "loader_share": waited, "epoch_begin_seconds": begin, "workers": workers}


def _peak_bytes(name: str, samples: Samples, args: argparse.Namespace, way: dict, device: str) -> int:
    """GPU memory that a training in one way takes at its peak, with no other there; 0 on a CPU."""
    if device == "cpu":
        return 0
    # what trained before, in another way or another detector, goes first
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    _Steps(name, samples, args, way, device).warm_up()
    return torch.cuda.max_memory_allocated(device)


class _Steps:
    """One detector, computing in one way, on one batch again and again.

    Attributes:
        seconds: Of each timed step.
        n_crops: That a step learns from.
    """

    def __init__(self, name: str, samples: Samples, args: argparse.Namespace, way: dict, device: str):
        family, settings = PUBLISHED[name]
        settings = {"pretrained": False, "precision": "32-true"} | settings | way
        if args.size:
            settings["size"] = args.size
        if args.batch_size:
            settings["batch_size"] = args.batch_size
        cls = detector_class(family)
        torch.manual_seed(0)
        self.device, self.data = device, args.data
        self.detector: NetworkDetector = cls(load_settings(cls.Settings, settings), training_methods(samples))
        self.detector.to(device).train()
        prepare_to_compute(self.detector)
        self.detector.start_epoch(0)
        self.train_set = self.detector.training_set(samples, self.data, seed=0)
        self.batch_size = self.detector.settings.batch_size
        self.n_crops = self.batch_size * self.detector.crops_per_item
        self._optimizer = self.detector.optimizer()
        self._batch = self._to_device(
            self.train_set.__getitems__([(0, index % len(self.train_set)) for index in range(self.batch_size)])
        )
        self.seconds: list[float] = []

    def warm_up(self, steps: int = 2) -> None:
        for _ in range(steps):
            self.learn(self._batch)

    def step(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)
        begin = time.perf_counter()
        self.learn(self._batch)
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)
        self.seconds.append(time.perf_counter() - begin)

    def learn(self, batch: dict) -> None:
        batch = dict(batch)  # SBI leaves its blends in the batch, for the second pass of the step

        def closure() -> torch.Tensor:
            self._optimizer.zero_grad()
            half = self.detector.settings.precision == "bf16-mixed"
            with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=half):
                loss = self.detector.losses(batch)["total"]
            loss.backward()
            return loss

        self._optimizer.step(closure)

    def loader(self, train_set: torch.utils.data.Dataset, n_drawn: int, workers: int) -> torch.utils.data.DataLoader:
        sampler = EpochSampler(len(train_set), n_drawn, seed=0)
        return make_loader(
            train_set, batch_size=self.batch_size, workers=workers, sampler=sampler, pin_memory=self.device != "cpu"
        )

    def learn_from(self, batch: dict) -> None:
        self.learn(self._to_device(batch))

    def _to_device(self, batch: dict) -> dict:
        return {
            key: value.to(self.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for key, value in batch.items()
        }


def _loader_share(run: _Steps, workers: int, n_batches: int = 20) -> float:
    """Share of the time of some batches of training, after the first one, that passes before a batch is there."""
    batches = iter(run.loader(run.train_set, n_batches * run.batch_size, workers))
    run.learn_from(next(batches))
    waited, begin = 0.0, time.perf_counter()
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        run.learn_from(batch)
        if run.device != "cpu":
            torch.cuda.synchronize(run.device)
    return waited / (time.perf_counter() - begin)


def _epoch_begin(run: _Steps, samples: Samples, workers: int) -> float:
    """Seconds from a table of samples in memory to the first batch of an epoch of `EPOCH_SAMPLES`."""
    many = samples[np.arange(EPOCH_SAMPLES) % len(samples)]
    begin = time.perf_counter()
    train_set = run.detector.training_set(many, run.data, seed=0)
    next(iter(run.loader(train_set, EPOCH_SAMPLES // run.detector.crops_per_item, workers)))
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
