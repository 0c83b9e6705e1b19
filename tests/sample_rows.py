"""Rows of results for tests."""

import dataclasses

from jsep.results import CurvePoint, Result


def result(model: str = "regular_cnn", seed: int = 0, **changes) -> Result:
    """A row of results.csv, with some fields changed."""
    row = Result(
        model=model,
        seed=seed,
        dataset="cifar10",
        options="width=0.5",
        epochs=2,
        batch_size=64,
        accuracy=0.8,
        loss=0.6,
        best_accuracy=0.81,
        best_epoch=1,
        params=5_157_034,
        macs=2_800_000_000,
        flops=5_800_000_000,
        train_seconds=800.0,
        compile_seconds=12.5,
        images_per_second=112.5,
        device="cpu",
        devices=1,
        jax="0.10.2",
        python="3.11.9",
        date="2026-01-02",
        top5=0.99,
    )
    return dataclasses.replace(row, **changes)


def points(model: str = "regular_cnn", seed: int = 0, losses=(1.5, 0.5)) -> list[CurvePoint]:
    """The epochs of one network with these losses."""
    return [
        CurvePoint(model, seed, epoch, loss, 0.5, loss, 0.4 + 0.1 * epoch + 0.01 * seed, 10.0 * epoch, 0.95)
        for epoch, loss in enumerate(losses, start=1)
    ]
