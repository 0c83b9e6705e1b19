"""The benchmark harness, not its figures: contenders compute the same, files are complete, failures become notes."""

import csv
import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jsep import create_model, native
from jsep.bench import BenchConfig, BenchRow, bench, jax_contender, plain_convolutions, run
from jsep.bench.case import Case
from jsep.costs import count
from jsep.errors import UserError
from jsep.layers import Conv, DepthwiseConv, PointwiseConv

TINY = {"model": "separable_cnn", "options": {"width": 0.02}, "input_shape": (8, 8, 3), "batch_size": 2}
MEASURED = ("ms", "compile_seconds", "first_call_seconds", "peak_mb", "matmul_gflops")


def numbers(row: BenchRow) -> dict[str, float]:
    """Return the figures of a row that were measured."""
    return {name: value for name, value in vars(row).items() if isinstance(value, int | float)}


@pytest.fixture
def quick_workers(monkeypatch):
    jax.devices()  # this process reads its flags now, so that only the workers see the new ones
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")


def test_plain_convolutions_compute_the_same_network():
    model = create_model("separable_cnn", width=1 / 32)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 8, 8, 3)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(1), x)
    variables = jax.tree.map(lambda s: jnp.asarray(rng.uniform(0.1, 1, s.shape), s.dtype), shapes)  # variances > 0

    def both(variables, x):
        with plain_convolutions():
            plain = model.apply(variables, x)
        return model.apply(variables, x), plain

    ours, plain = jax.jit(both)(variables, x)
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (Conv(6, (3, 1), (2, 1), "SAME", dilation=2, groups=2), (9, 8)),
        (PointwiseConv(5, 2, use_bias=False), (9, 8)),
        (DepthwiseConv(5, 2, multiplier=2), (9, 8)),
        (DepthwiseConv(3, padding="VALID", dtype=jnp.bfloat16), (9, 8)),
        (DepthwiseConv(3, 2), (9,)),
        (DepthwiseConv(3, padding="SAME", dilation=2), (9,)),
    ],
)
def test_every_field_of_a_convolution_reaches_its_twin(layer, size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 4))
    params = jax.tree.map(lambda p: p + 0.5, layer.init(jax.random.key(1), x))  # a bias of zeros would hide errors
    with plain_convolutions():
        plain = layer.apply(params, x)
    ours = layer.apply(params, x)
    assert plain.dtype == ours.dtype
    np.testing.assert_allclose(*(y.astype(jnp.float32) for y in (ours, plain)), rtol=0.02, atol=0.02)


def test_the_plain_program_holds_grouped_convolutions_and_ours_none():
    layer = DepthwiseConv(use_bias=False)
    x = jnp.ones((2, 8, 8, 4))
    params = layer.init(jax.random.key(0), x)

    def compiled() -> str:
        return str(jax.jit(lambda params, x: layer.apply(params, x)).lower(params, x).compile().as_text())

    with plain_convolutions():
        plain = compiled()
    assert " convolution(" in plain
    assert "feature_group_count=4" in plain
    assert " convolution(" not in compiled()


@pytest.mark.slow
def test_a_bench_leaves_rows_a_csv_and_a_figure(tmp_path, quick_workers):
    config = BenchConfig(**TINY, contenders=("jsep", "xla"), tasks=("train",), rounds=1, iterations=1, out=tmp_path)
    said = io.StringIO()
    rows = bench(config, Console(file=said, soft_wrap=True))
    assert [(row.contender, row.note) for row in rows] == [("jsep", ""), ("xla", "")]
    assert [row.native for row in rows] == [native.kernels(), ""]
    ours, rival = map(numbers, rows)
    assert ours["ratio"] == 1
    assert rival["ratio"] == pytest.approx(rival["ms"] / ours["ms"])
    assert ours["macs"] == 2 * count(create_model("separable_cnn", width=0.02), (8, 8, 3)).macs
    assert ours["gflops"] == pytest.approx(6 * ours["macs"] / ours["ms"] / 1e6)
    assert ours["images_per_second"] == pytest.approx(2000 / ours["ms"])
    for row in (ours, rival):
        assert min(row[name] for name in MEASURED) > 0
        assert row["ms_p10"] <= row["ms"] <= row["ms_p90"]
        assert 0 < row.get("running_mb", row["peak_mb"]) <= row["peak_mb"]  # empty where the system does not tell
    with (tmp_path / "bench.csv").open() as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == [field.name for field in fields(BenchRow)]
    assert [row["contender"] for row in written] == ["jsep", "xla"]
    assert float(written[0]["ms"]) == ours["ms"]
    assert (tmp_path / "bench.png").stat().st_size > 0
    assert "ms" in (tmp_path / "bench.svg").read_text()
    assert "separable_cnn width=0.02, 2x8x8x3 float32, training step" in said.getvalue()


def test_a_worker_that_fails_becomes_a_row_with_its_sentence(tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    source = run.WORKER.read_text()
    # as if torch were not installed and the process of xla died; jsep continues
    source = source.replace("from jsep.bench import torch_contender", "raise ModuleNotFoundError(name='torch')")
    source = source.replace("def _build(job", "def _build(job: dict) -> tuple:\n    if job['contender'] == 'xla':\n        os._exit(3)\n    return _really_build(job)\n\n\ndef _really_build(job")  # fmt: skip  # noqa: E501
    worker.write_text(source.replace("Path(__file__).resolve().parents[1]", f"Path({str(run.WORKER.parents[1])!r})"))
    monkeypatch.setattr(run, "WORKER", worker)
    contenders = ("jsep", "xla", "torch")
    rows = bench(
        BenchConfig(
            op="pointwise", shapes=("1x4x4x2",), tasks=("infer",), contenders=contenders, rounds=1, out=tmp_path
        ),
        Console(quiet=True),
    )
    ours, dead, missing = rows
    assert ours.ratio == 1
    assert ours.macs == 64
    assert dead.note == "its process ended with code 3: see the end of bench.log"
    assert missing.note == "torch is not installed: pip install 'jsep[torch]'"
    assert missing.ms is None
    assert (tmp_path / "bench.svg").read_text().count("not measured") == 2


def test_jsep_plain_has_no_native_kernels(tmp_path, quick_workers):
    case = {"op": "pointwise", "shapes": ("1x4x4x2",), "tasks": ("infer",), "contenders": ("jsep", "jsep.plain")}
    said = io.StringIO()
    ours, plain = bench(BenchConfig(**case, rounds=1, iterations=1, out=tmp_path), Console(file=said))
    assert (ours.native, plain.native) == (native.kernels(), "")
    assert plain.ratio is not None
    assert f"Native kernels of jsep: {native.kernels() or 'none'}" in said.getvalue()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rounds": 0}, "`rounds`=0: it must be at least 1"),
        ({"torch_python": Path("/no/python")}, "`torch_python`=/no/python: there is no such file"),
        ({"batch_size": 0}, "`batch_size`=0: it must be at least 1"),
        ({"contenders": ("torhc",)}, "`contenders`=torhc: .*did you mean torch"),
        ({"contenders": ("jsep", "jsep")}, "each once"),
        ({"tasks": ()}, "at least one"),
        ({"dtypes": ("float16",)}, "did you mean bfloat16 or float32"),
        ({"strides": (1, 0)}, "`strides`=0: it must be at least 1"),
        ({"input_shape": (0, 8, 3)}, "`input_shape`=0x8x3"),
        ({"op": "dense"}, "`op` and `shapes` belong together"),
        ({"shapes": ("1x8x8x3",)}, "`op` and `shapes` belong together"),
        ({"op": "dense", "shapes": ("8x8x3",)}, "`shapes`=8x8x3: write"),
        ({"op": "depthwise", "shapes": ("1x8x8x3",), "features": 4}, "`features`=4: .*multiple of the 3"),
        ({"options": {"widht": 1}}, "no option 'widht'"),
        ({"model": "separable_cn"}, "did you mean separable_cnn"),
        ({"model": "separable_cnn", "input_shape": (4, 4, 3)}, "at least 8x8"),
    ],
)
def test_bad_input_is_refused_before_any_work(values, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        bench(BenchConfig(out=tmp_path / "out", **values), Console(quiet=True))
    assert not (tmp_path / "out").exists()


def test_cases_are_all_combinations_and_survive_json():
    config = BenchConfig(op="depthwise", shapes=("1x8x8x4", "2x4x4x8"), kernels=(3, 5), strides=(1, 2))
    cases = config.cases()
    assert len(cases) == 16
    assert str(cases[0]) == "depthwise 3x3 to 4, stride 1, 1x8x8x4 float32, forward and both gradients"
    case = BenchConfig(model="separable_cnn", options={"width": 0.5}).cases()[0]
    assert Case.from_json({**vars(case), "input_shape": [32, 32, 3]}) == case


@pytest.mark.parametrize(
    ("name", "options", "params"),
    [
        ("densenet100_k12_bc", {"depth": 22, "growth": 12}, 71_686),
        ("mobilenet_v1", {"input": "cifar"}, 3_217_226),
        ("mobilenet_v2", {"width": 0.5, "input": "cifar"}, 700_490),
        ("mobilenet_v3_small", {"input": "cifar"}, 1_528_106),
        ("resnet20", {}, 269_722),
        ("shufflenet_v2_x0_5", {"input": "cifar"}, 352_042),
        ("vgg16_bn", {"width": 0.25}, 923_130),
        ("vgg16_ksc4", {"width": 0.25}, 233_658),
    ],
)
def test_a_torch_twin_is_the_same_network(name, options, params):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    from jsep.bench.torch_models import twin

    table = count(create_model(name, num_classes=10, **options), (32, 32, 3))
    assert table.params == params
    network = twin(name, 10, params, **options)
    macs = 0

    def note(module: Any, _: object, out: Any) -> None:
        nonlocal macs
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            macs += module.weight[0].numel() * out[0].numel()

    for module in network.modules():
        module.register_forward_hook(note)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert macs == table.macs  # so the strides are the same, too


@pytest.mark.parametrize("task", ["infer", "train"])
@pytest.mark.parametrize(("name", "params"), [("ssdlite320", 3_440_060), ("lraspp", 3_221_538)])
def test_torch_runs_detectors_and_segmenters(name, params, task):
    pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    from jsep.bench import torch_contender

    (case,) = BenchConfig(name, input_shape=(64, 96, 3), batch_size=2, tasks=(task,)).cases()
    run, _, device = torch_contender.build(case, "torch", params)
    run()
    assert device


@pytest.mark.slow
@pytest.mark.parametrize("task", ["infer", "train"])
@pytest.mark.parametrize("name", ["ssdlite320", "lraspp"])
def test_jsep_runs_detectors_and_segmenters(name, task):
    (case,) = BenchConfig(name, input_shape=(64, 96, 3), batch_size=2, tasks=(task,)).cases()
    run, _, device = jax_contender.build(case, "jsep")
    run()
    assert device


def test_what_has_no_torch_twin_is_said():
    pytest.importorskip("torch")
    from jsep.bench.torch_models import twin

    with pytest.raises(LookupError, match="separable_cnn has no PyTorch twin"):
        twin("separable_cnn", 10, 0)
    with pytest.raises(LookupError, match="no PyTorch twin with shallow"):
        twin("mobilenet_v1", 10, 0, shallow=True)


def test_the_torch_worker_runs_without_jax(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "jax.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\nraise ImportError('jax')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    case = {"op": "depthwise", "shapes": ("1x4x4x2",), "tasks": ("train",)}
    config = BenchConfig(**case, contenders=("torch",), rounds=1, iterations=1, out=tmp_path)
    (row,) = bench(config, Console(quiet=True))
    assert (row.note, row.ratio) == ("", None)
    assert not (tmp_path / "imported").exists()


def test_the_ratio_is_paired_by_round_and_a_disturbance_is_said(monkeypatch):
    monkeypatch.setattr(run.os, "cpu_count", lambda: 2)
    config = BenchConfig(op="dense", shapes=("1x8x8x3",), tasks=("infer",), rounds=3, iterations=1)
    (case,) = config.cases()

    def found(seconds: tuple[float, ...], foreign: float | None) -> run._Found:
        rounds = [{"seconds": [s], "wall": 1.0, "foreign": foreign} for s in seconds]
        return run._Found({"device": "cpu"}, rounds)

    # the machine was ten times slower in the second round: the ratio of the medians would be 1.5, the pairs say 2
    both = {"jsep": found((1.0, 20.0, 2.0), -0.01), "torch": found((2.0, 40.0, 3.0), 0.7)}
    ours, theirs = run._rows(case, 1, both, config)
    assert (ours.ratio, theirs.ratio) == (1, 2)
    assert (ours.foreign_cores, theirs.foreign_cores) == (0, pytest.approx(2 / 3))
    said = io.StringIO()
    run._print(case, [ours, theirs], Console(file=said, soft_wrap=True))
    assert "Disturbed: other processes kept 0.7 cores busy" in said.getvalue()
    assert theirs.disturbed
    said = io.StringIO()
    run._print(case, [ours], Console(file=said))
    assert str(case) in said.getvalue()
    assert "Disturbed" not in said.getvalue()

    elsewhere = found((1.0, 1.0, 1.0), None)
    elsewhere.facts["device"] = "a GPU"
    (other,) = run._rows(case, 1, {"jsep": both["jsep"], "torch": elsewhere}, config)[1:]
    assert (other.ratio, other.foreign_cores, other.note) == (None, None, "another device than jsep's: no ratio")
