"""Decomposition of whole networks: sites, plans, recovery of separable networks, and run folders."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jsep.cli.main import main
from jsep.compress import Method, Options, decompose, find_sites, load_plan, make_plan, save_plan
from jsep.costs import count
from jsep.data import catalog
from jsep.errors import UserError
from jsep.models import create_model
from jsep.models.factored import Factor, factored

SHAPE = (16, 16, 3)


def _random(model, seed=0):
    """Random variables, none of them at its initial value."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, *SHAPE)))
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        kind = path[-1].key
        if kind in ("var", "scale"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if kind == "kernel" else 0.2
        return jnp.asarray(rng.normal(size=leaf.shape) * scale, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _images(number=24):
    return jnp.asarray(np.random.default_rng(7).normal(size=(number, *SHAPE)), jnp.float32)


def _run(model, variables, method: Method = "comp", plan: list[Factor] | None = None, **options):
    sites = find_sites(model, SHAPE)
    settings = Options(method, **{"points": 40, **options})
    return decompose(model, variables, sites, plan or make_plan(sites, method), lambda: iter([_images()]), settings)


def _logits(model, variables, x) -> np.ndarray:
    return np.asarray(jax.jit(model.apply)(variables, x))


def test_sites_are_the_dense_convolutions_behind_the_stem_with_their_batch_norms():
    sites = {site.path: site for site in find_sites(create_model("resnet20", depth=8), SHAPE)}
    assert list(sites) == [f"stage{s}_block1_conv{c}" for s in (1, 2, 3) for c in (1, 2)]
    first = sites["stage2_block1_conv1"]
    assert (first.norm, first.strides, first.channels, first.features) == ("stage2_block1_conv1_norm", (2, 2), 16, 32)
    assert (first.input_size, first.output_size) == ((16, 16), (8, 8))
    # with batch norms first, an output feeds the next layer's norm, or a sum
    norms = [site.norm for site in find_sites(create_model("preresnet110", depth=8), SHAPE)]
    assert norms[:4] == ["stage1_block1_conv2_norm", "", "stage2_block1_conv2_norm", ""]
    assert not find_sites(create_model("mobilenet_v1_025", input="cifar"), SHAPE)
    assert "c1_branch2_conv2" in {s.path for s in find_sites(create_model("inception_v3"), (96, 96, 3))}


@pytest.mark.parametrize("method", ["channel", "spatial"])
def test_plans_stay_within_the_macs_of_the_separable_network(method):
    model = create_model("vgg16_bn", width=0.25)
    sites = find_sites(model, SHAPE)

    def macs(method):
        return count(factored(model, list(map(str, make_plan(sites, method)))), SHAPE).macs

    assert 0.8 * macs("comp") <= macs(method) <= macs("comp")
    assert macs("comp") < count(model, SHAPE).macs / 5


@pytest.mark.parametrize("method", ["data", *(pytest.param(m, marks=pytest.mark.slow) for m in ("channel", "spatial"))])
def test_a_layer_of_the_report_is_what_the_counter_says(method):
    model = create_model("resnet20", depth=8)
    plan = make_plan(find_sites(model, SHAPE), method, ["stage2_*"])
    network, variables, rows = _run(model, _random(model), method, plan)
    saved = sum(row.params_before - row.params_after for row in rows)
    assert count(network, SHAPE).params == count(model, SHAPE).params - saved
    saved = sum(row.macs_before - row.macs_after for row in rows)
    assert count(network, SHAPE).macs == count(model, SHAPE).macs - saved
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.ones((1, *SHAPE)))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)


def _expanded(variables):
    """Merge each kernel, batch norm and kernel of a ShuffleNet V2 into one dense kernel of the expanded network."""
    params, stats = (dict(jax.tree.map(np.asarray, variables[part])) for part in ("params", "batch_stats"))
    for depthwise in [name for name in params if name.endswith("_depthwise")]:
        unit = depthwise.removesuffix("_depthwise")
        pointwise = unit if unit.endswith("_shortcut") else f"{unit}_project"
        norm, moments = params.pop(f"{depthwise}_norm"), stats.pop(f"{depthwise}_norm")
        scale = norm["scale"] / np.sqrt(moments["var"] + 1e-5)
        filters, mixing = params.pop(depthwise)["kernel"][:, :, 0] * scale, params[pointwise]["kernel"]
        params[pointwise] = {"kernel": filters[..., None] * mixing}
        # the second batch norm's mean absorbs what the first one adds
        after = stats[f"{pointwise}_norm"]
        added = (norm["bias"] - moments["mean"] * scale) @ mixing[0, 0]
        stats[f"{pointwise}_norm"] = {**after, "mean": after["mean"] - added}
    return {"params": params, "batch_stats": stats}


@pytest.mark.slow
def test_an_expanded_shufflenet_is_decomposed_into_itself():
    separable = create_model("shufflenet_v2_x0_5", input="cifar", num_classes=5)
    expanded = create_model("shufflenet_v2_x0_5_expanded", input="cifar", num_classes=5)
    variables = _random(separable)
    dense = _expanded(variables)
    x = _images(4)
    wanted = _logits(separable, variables, x)
    np.testing.assert_allclose(_logits(expanded, dense, x), wanted, atol=1e-4 * np.abs(wanted).max())
    network, found, rows = _run(expanded, dense, "svd")
    assert len(rows) == 19
    np.testing.assert_allclose(_logits(network, found, x), wanted, atol=1e-3 * np.abs(wanted).max())
    assert count(network, SHAPE).params == count(separable, SHAPE).params


@pytest.mark.parametrize("name", ["resnet20", pytest.param("preresnet110", marks=pytest.mark.slow)])
def test_batch_norms_put_back_are_identities_and_stride_and_padding_are_kept(name):
    """A channel decomposition of full rank approximates nothing, so the logits stay the same."""
    model = create_model(name, depth=8, num_classes=5)
    variables, x = _random(model), _images(4)
    full = [Factor(site.path, "channel", site.features, not site.norm) for site in find_sites(model, SHAPE)]
    network, found, rows = _run(model, variables, plan=full, points=256)
    wanted = _logits(model, variables, x)
    np.testing.assert_allclose(_logits(network, found, x), wanted, atol=2e-4 * np.abs(wanted).max())
    assert max(row.error for row in rows) < 1e-3


@pytest.mark.slow
def test_a_network_whose_batch_norms_come_first_gets_biases():
    model = create_model("preresnet110", depth=8, num_classes=5)
    network, found, _ = _run(model, _random(model), "comp")
    biases = [path for path in flatten_dict(found["params"], sep="/") if path.endswith("pointwise/bias")]
    assert biases
    assert np.isfinite(_logits(network, found, _images(2))).all()


@pytest.mark.slow
def test_layers_repair_what_the_layers_before_them_lost():
    model = create_model("vgg16_bn", width=0.125, num_classes=5)
    variables = _random(model)
    plan = make_plan(find_sites(model, SHAPE), "comp", ["stage[23]_*"])
    asymmetric, symmetric = (_run(model, variables, "comp", plan, symmetric=s) for s in (False, True))
    x = _images(16)
    wanted = _logits(model, variables, x)

    def off(run):
        network, found, _ = run
        return np.abs(_logits(network, found, x) - wanted).mean()

    assert off(asymmetric) < off(symmetric)
    assert all(row.error_inherited > 0 for row in asymmetric[2][1:])


def test_plans_are_written_edited_and_read(tmp_path):
    sites = find_sites(create_model("resnet20", depth=8), SHAPE)
    plan, file = make_plan(sites, "channel", ["stage3_*"]), tmp_path / "plan.json"
    save_plan(plan, file)
    assert load_plan(file, sites) == plan
    texts = json.loads(file.read_text())
    file.write_text(json.dumps([texts[1], "stage1_block1_conv2=separable"]))
    assert [str(f) for f in load_plan(file, sites)] == ["stage1_block1_conv2=separable", texts[1]]  # in execution order
    for text, sentence in [
        ('["stem=separable"]', "there is no convolution 'stem' to decompose"),
        ('["stage1_block1_conv2=wavelet"]', "is no replacement"),
        ('["stage1_block1_conv2=channel"]', "is no replacement"),
        ('["stage1_block1_conv2=dense"]', "replaces nothing"),
        ('["stage1_block1_conv2=channel:17"]', "give at most 16"),
        ('["stage1_block1_conv2=spatial:49"]', "give at most 48"),
        ("{}", "is not a plan"),
        ("[", "cannot be read as a plan"),
    ]:
        file.write_text(text)
        with pytest.raises(UserError, match=sentence):
            load_plan(file, sites)
    with pytest.raises(UserError, match=r"`layers`=conv9\* matches no convolution"):
        make_plan(sites, "comp", ["conv9*"])


def test_replacing_what_is_not_there_is_refused():
    with pytest.raises(UserError, match="has no convolution stage9_conv1"):
        count(factored(create_model("resnet20", depth=8), ["stage9_conv1=separable"]), SHAPE)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "pca"}, "`method`='pca': it must be svd, data, comp"),
        ({"method": []}, "it must be svd"),
        ({"sweeps": 0}, "`sweeps`=0: it must be at least 1"),
        ({"points": "ten"}, "a whole number"),
        ({"points": 1.5}, "a whole number"),
        ({"seed": -1}, "at least 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        Options(**options)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Factor.parse(5),  # type: ignore[arg-type]
        lambda: make_plan([], "pca"),  # type: ignore[arg-type]
        lambda: find_sites(create_model("resnet20", depth=8), (1, 16, 16, 3)),
    ],
)
def test_arguments_of_another_kind_are_refused(call):
    with pytest.raises(UserError, match="it must be "):
        call()


@pytest.fixture
def decomposed(tmp_path, tiny_tfds) -> Path:
    """A folder with a `run`, the `plan.json` of its last stage, and the run that is `decomposed` by it."""
    words = ["resnet20", "--options", "depth=8", "--data", str(tiny_tfds), "--epochs", "1", "--batch-size", "8"]
    run, out, plan = (str(tmp_path / name) for name in ("run", "decomposed", "plan.json"))
    assert main(["train", *words, "--devices", "1", "--out", run]) == 0
    assert main(["decompose", run, "--layers", "stage3_*", "--write-plan", plan]) == 0
    assert main(["decompose", run, "--plan", plan, "--out", out]) == 0  # fitted to the 48 images that there are
    return tmp_path


@pytest.mark.slow
def test_from_run_to_run_on_the_command_line(decomposed, capsys):
    run, out = str(decomposed / "run"), str(decomposed / "decomposed")
    assert (decomposed / "decomposed" / "layers.csv").read_text().count("\n") == 3
    assert (decomposed / "decomposed" / "layers.png").stat().st_size > 10_000
    assert main(["eval", out]) == 0
    for words, sentence in [
        ([out], "is already decomposed"),
        ([run, "--images", "0"], "--images 0: it must be at least 1"),
        ([run, "--images", "20", "--out", out], "already holds a run"),
        ([run, "--write-plan", str(decomposed / "nowhere" / "plan.json")], "choose another --write-plan"),
        ([run, "--seed", "-1"], "--seed -1: it must be at least 0"),
        ([run, "--layers", "nothing"], "matches no convolution"),
        ([run, "--method", "spatial", "--relu", "--images", "20", "--out", out + "2"], "leave --relu out"),
    ]:
        assert main(["decompose", *words]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_decomposed_run_is_tuned_and_resumed_without_the_run_that_it_began_with(decomposed):
    tuned = str(decomposed / "tuned")
    begin = ["train", "--init", str(decomposed / "decomposed"), "--epochs", "1", "--lr", "0.0001", "--out", tuned]
    assert main(begin) == 0
    config = json.loads((decomposed / "tuned" / "config.json").read_text())
    assert config["model"] == "resnet20"
    assert config["factored"] == ["stage3_block1_conv1=separable", "stage3_block1_conv2=separable"]
    (decomposed / "decomposed").rename(decomposed / "elsewhere")
    assert main(["train", "--resume", "--epochs", "2", "--out", tuned]) == 0  # its checkpoint holds all it needs


@pytest.mark.slow
def test_a_streamed_run_is_decomposed_too(tmp_path, tiny_tfds, monkeypatch):
    monkeypatch.setattr(catalog, "RESIDENT_LIMIT", 0)
    run = str(tmp_path / "run")
    words = ["resnet20", "--options", "depth=8", "--data", str(tiny_tfds), "--epochs", "1", "--batch-size", "8"]
    assert main(["train", *words, "--devices", "1", "--out", run]) == 0
    streamed = ["--layers", "stage3_*", "--images", "20", "--recalibrate", "1", "--out", str(tmp_path / "streamed")]
    assert main(["decompose", run, *streamed]) == 0
