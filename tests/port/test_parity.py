"""Every network that has a PyTorch reference, against it: stages and logits, gradients, and five steps of SGD."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from jsep import boxes, create_model, list_models, model_info
from jsep.errors import UserError
from jsep.models import ssd
from jsep.models.detector import Detector
from jsep.models.segmenter import AUXILIARY_WEIGHT, IGNORED, Segmenter
from jsep.port import TOLERANCE, build_pair, compare_with_torch
from jsep.port.convert import convert
from jsep.port.names import layouts
from jsep.train import Optimizer, Schedule
from jsep.train.optimizer import make_optimizer

torch = pytest.importorskip("torch", reason="the references need torch")
pytest.importorskip("pytorchcv", reason="the references need pytorchcv")
pytest.importorskip("timm", reason="the references need timm")
pytest.importorskip("torchvision", reason="the references need torchvision")

from detectors_of_torch import drawn_objects, freeze, losses_of, thin  # noqa: E402 (they need torch)

from jsep.port.reference import answers, make  # noqa: E402

torch.set_num_threads(1)  # its threads wait for one another, which takes minutes beside another process

SIZES = {
    32: 16,
    224: 64,
    299: 96,
    300: 300,
    320: 64,
    520: 64,
    800: 64,
}  # published size: smallest size that every stage can take
REFERENCES = [(name, reference) for name in list_models() for reference in model_info(name).references]
# the same network as another of these, of another width or size, or one that takes seconds
LATER = {f"timm:tf_{name}" for name in ("mixnet_m", "mixnet_l", "mobilenetv3_large_075", "mobilenetv3_small_075")}
LATER |= {f"timm:mobilenetv3_{name}" for name in ("large_100", "small_075", "small_100")} | {"timm:mobilenetv1_125"}
# tests/port/test_detector_parity.py compares the answers of a detector every day
LATER |= {f"torchvision:ssdlite320_mobilenet_v3_large{tail}" for tail in ("", "/full")}
LATER |= {f"torchvision:{name}" for name in ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "ssd300_vgg16")}
LATER |= {f"torchvision:{name}" for name in ("deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "fcn_resnet50")}
REFERENCES = [pytest.param(*row, marks=pytest.mark.slow) if row[1] in LATER else row for row in REFERENCES]


@pytest.mark.parametrize(("name", "reference"), REFERENCES)
def test_stages_and_logits(name, reference):
    for row in compare_with_torch(name, reference, size=SIZES[model_info(name).input_shape[0]]):
        assert row.relative <= TOLERANCE, row


# a reference of every way to halve a map, and its least size
SIZED = {
    "resnet20": ("pytorchcv:resnet20_cifar10", 1),
    "densenet40_k12": ("pytorchcv:densenet40_k12_cifar10", 4),
    "pyramidnet110_a48": ("pytorchcv:pyramidnet110_a48_cifar10", 1),
    "mobilenet_v1_025": ("pytorchcv:mobilenet_wd4", 1),
    "mobilenet_v2": ("torchvision:mobilenet_v2", 1),
    "mobilenet_v3_small": ("timm:tf_mobilenetv3_small_100", 1),
    "mixnet_s": ("timm:tf_mixnet_s", 1),
    "resnet18": ("torchvision:resnet18", 1),
    "shufflenet_v2_x0_5": ("torchvision:shufflenet_v2_x0_5", 1),
    "xception": ("pytorchcv:xception", 7),
    "inception_v3": ("torchvision:inception_v3", 75),
}
SIDES = [*range(32, 71), *range(221, 228)]


@pytest.mark.parametrize("name", sorted(SIZED.keys() - {"inception_v3"}))
def test_stages_have_the_shapes_of_the_reference(name):
    _same_shapes(name, [(33, 47)])


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZED)
def test_stages_have_the_shapes_of_the_reference_at_many_sizes(name):
    sizes, least = list(zip(SIDES[::2], reversed(SIDES[1::2]), strict=True))[::3], SIZED[name][1]
    small = [size for size in sizes if min(size) < least]  # the sentence takes several traces: once is enough
    _same_shapes(name, [*small[:1], (least, least + 34), *(size for size in sizes if min(size) >= least)])


def _same_shapes(name, sizes):
    """Evaluate both networks on shapes only; what PyTorch refuses, ours refuses in a sentence."""
    reference, least = SIZED[name]
    with torch.device("meta"):
        theirs = make(reference, 10).eval()
    model = create_model(name, **model_info(name).references[reference])
    (names,) = [names for names in layouts(model) if reference.partition(":")[0] in names.source]
    modules, found = dict(theirs.named_modules()), {}

    def keep(stage, module, arguments, y):
        found[stage] = (*y.shape[2:], y.shape[1])

    for height, width in sizes:
        x = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        images = torch.empty(1, 3, height, width, device="meta")
        if min(height, width) < least:
            with pytest.raises(RuntimeError):
                theirs(images)
            with pytest.raises(UserError, match=f"at least {least}x{least}, not {height}x{width}"):
                jax.eval_shape(model.init, jax.random.key(0), x)
            continue
        stages = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, features=True)[0][1], x)
        for stage in stages:
            modules[names.stage(stage)].register_forward_hook(partial(keep, stage))
        theirs(images)
        assert {stage: ours.maps.shape[1:] for stage, ours in stages.items()} == found


@pytest.mark.parametrize("sides", [(33, 33), (29, 47)])
def test_logits_where_the_last_windows_of_a_pool_are_halves(sides):
    """PyramidNet's shortcuts, in float64."""
    reference, options = "pytorchcv:pyramidnet20_a48_bn_cifar10", {"depth": 20, "bottleneck": True}
    model, variables, theirs, _ = build_pair("pyramidnet110_a48", reference, options, 16)
    images = np.random.default_rng(0).normal(size=(2, *sides, 3))
    with torch.no_grad():
        want = theirs.double()(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        found = np.asarray(jax.jit(model.apply)(variables, jnp.asarray(images)))
    assert np.abs(found - want).max() <= 1e-9 * np.abs(want).max()


@pytest.mark.parametrize(
    ("name", "reference", "output_stride"),
    [
        ("mobilenet_v2_050", "timm:mobilenetv2_050/stride8", 8),
        pytest.param("resnet18", "timm:resnet18/stride16", 16, marks=pytest.mark.slow),
        pytest.param("mobilenet_v2_050", "timm:mobilenetv2_050/stride16", 16, marks=pytest.mark.slow),
        pytest.param("resnet18", "timm:resnet18/stride8", 8, marks=pytest.mark.slow),
        pytest.param("resnet50", "timm:resnet50/stride8", 8, marks=pytest.mark.slow),
    ],
)
def test_dilation_in_place_of_strides(name, reference, output_stride):
    """The dilated MobileNet V3, and ResNet-50 as torchvision dilates it, are parts of the segmenters above."""
    model, variables, theirs, _ = build_pair(name, reference, {"output_stride": output_stride}, 64)
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        want = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    found = np.asarray(jax.jit(model.apply)(variables, jnp.asarray(images)))
    assert np.abs(found - want).max() <= TOLERANCE * np.abs(want).max()


def _leaky(theirs, monkeypatch):
    """Give a network LeakyReLU in place of its ReLU."""
    for module in list(theirs.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ReLU):
                setattr(module, name, torch.nn.LeakyReLU(0.1))


def _unpadded_means(theirs, monkeypatch):
    """Let average pools leave padding out, as TensorFlow's do."""
    pool = partial(torch.nn.functional.avg_pool2d, count_include_pad=False)
    monkeypatch.setattr(torch.nn.functional, "avg_pool2d", pool)


@pytest.mark.parametrize(
    ("name", "reference", "options", "change", "size"),
    [
        ("mobilenet_v1_025", "pytorchcv:mobilenet_wd4", {"act": "leaky_relu"}, _leaky, 64),
        pytest.param(
            "inception_v3", "torchvision:inception_v3", {"padding": "SAME"}, _unpadded_means, 96, marks=pytest.mark.slow
        ),
    ],
)
def test_options_that_no_package_has(name, reference, options, change, size, monkeypatch):
    model, variables, theirs, _ = build_pair(name, reference, options, size)
    change(theirs, monkeypatch)
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        want = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    found = np.asarray(jax.jit(model.apply)(variables, jnp.asarray(images)))
    assert np.abs(found - want).max() <= TOLERANCE * np.abs(want).max()


# a small network of every family, and of every way to build a block
TRAINED = [
    ("resnet20", "pytorchcv:resnet20_cifar10", {"shortcut": "projection"}, 16),
    ("resnet20", "pytorchcv:seresnet20_cifar10", {"shortcut": "projection", "attention": "se"}, 16),
    ("preresnet110", "pytorchcv:preresnet20_cifar10", {"depth": 20}, 16),
    ("sdensenet100_k12_bc", "pytorchcv:densenet40_k12_bc_cifar10+separable_bn", {"depth": 40}, 16),
    ("spyramidnet164_a48", "pytorchcv:pyramidnet20_a48_bn_cifar10+separable_bn_relu", {"depth": 20}, 16),
    ("mobilenet_v1_025", "pytorchcv:mobilenet_wd4", {}, 64),
    ("xception", "pytorchcv:xception", {"dropout": 0.0}, 64),
    ("inception_v3", "torchvision:inception_v3", {"dropout": 0.0}, 96),
    ("mobilenet_v3_small", "torchvision:mobilenet_v3_small", {"dropout": 0.0}, 64),
    ("mobilenet_v2_050", "timm:mobilenetv2_050", {"dropout": 0.0}, 64),
    ("resnet18", "timm:resnet18/eca", {"attention": "eca", "eca_kernels": "formula"}, 64),
    ("shufflenet_v2_x0_5", "torchvision:shufflenet_v2_x0_5", {}, 64),
    ("dicenet_x0_2", "pytorchcv:dicenet_wd5", {"dropout": 0.0}, 64),
    ("mixnet_s", "timm:mixnet_s", {"dropout": 0.0}, 64),
    pytest.param("ssdlite320", "torchvision:ssdlite320_mobilenet_v3_large", {}, 128, marks=pytest.mark.slow),
    pytest.param("retinanet", "torchvision:retinanet_resnet50_fpn", {}, 64, marks=pytest.mark.slow),
    pytest.param("retinanet_v2", "torchvision:retinanet_resnet50_fpn_v2", {}, 64, marks=pytest.mark.slow),
    ("lraspp", "torchvision:lraspp_mobilenet_v3_large", {}, 32),
    pytest.param(
        *("deeplabv3_mobilenet_v3", "torchvision:deeplabv3_mobilenet_v3_large", {"dropout": 0.0}, 64),
        marks=pytest.mark.slow,
    ),
    pytest.param(
        *("fcn", "torchvision:fcn_resnet50/auxiliary", {"dropout": 0.0, "auxiliary": True}, 32), marks=pytest.mark.slow
    ),
]
STEPS, BATCH, RATE, MOMENTUM, DECAY = 5, 4, 0.01, 0.9, 5e-4
THINNED = 16


@pytest.mark.parametrize(("name", "reference", "options", "size"), TRAINED)
def test_gradients_and_five_steps(name, reference, options, size):
    _compare_steps(name, *build_pair(name, reference, options, size), size)


@pytest.mark.slow
def test_gradients_and_five_steps_of_ssd_over_a_thin_vgg(monkeypatch):
    """Both have a sixteenth of the features, since only at 300x300 are the anchors torchvision's.

    That all of their features give the same answers is tested in tests/port/test_detector_parity.py.
    """
    name, (reference,) = "ssd300_vgg16", model_info("ssd300_vgg16").references
    monkeypatch.setattr(ssd, "VGG", tuple((features // THINNED, layers) for features, layers in ssd.VGG))
    monkeypatch.setattr(ssd, "EXTRA", tuple((a // THINNED, b // THINNED, stride) for a, b, stride in ssd.EXTRA))
    monkeypatch.setattr(ssd, "DENSE", ssd.DENSE // THINNED)
    model, theirs = create_model(name, num_classes=4), make(reference, 4)
    thin(theirs, THINNED)
    (names,) = layouts(model)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    variables, wrong = convert(model, (300, 300, 3), state, names)
    assert not wrong
    _compare_steps(name, model, variables, theirs, names, 300, (0, 40))


def _compare_steps(name, model, variables, theirs, names, size, counts=(0, 1, 40, 3)):
    """Compute in float64, where rounding hides no difference, and compare as float32."""
    rng = np.random.default_rng(1)
    detector = isinstance(model, Detector)
    images = rng.normal(size=(STEPS, len(counts) if detector else BATCH, size, size, 3))
    classes = model.num_classes
    targets: Any = rng.integers(0, classes, (STEPS, BATCH))
    if detector:
        targets = [drawn_objects(rng, counts, size, classes) for _ in range(STEPS)]
    elif isinstance(model, Segmenter):
        targets = rng.integers(0, classes, (STEPS, BATCH, size, size))
        targets[rng.random(targets.shape) < 0.2] = IGNORED
    torch_grads, torch_state, torch_losses = _train_torch(theirs, images, targets)
    with jax.enable_x64(True):
        grads, params, batch_stats, losses = _train(model, variables, images, targets)
    np.testing.assert_allclose(losses, torch_losses, rtol=1e-8)
    for state, ours in ((torch_grads, grads), (torch_state, params), (torch_state, batch_stats)):
        want, wrong = convert(model, model_info(name).input_shape, torch_state | state, names)
        assert not wrong
        part = "batch_stats" if ours is batch_stats else "params"
        wanted: dict[str, Any] = flatten_dict(want.get(part, {}), sep="/")
        for path, value in flatten_dict(ours, sep="/").items():
            # the gradient of a bias before a batch norm is only rounding, hence the floor
            scale = max(np.abs(wanted[path]).max(), 1e-6)
            assert np.abs(np.asarray(value) - wanted[path]).max() <= 1e-5 * scale, (part, path)


def _loss(model, answered, targets):
    if isinstance(model, Detector):
        losses = model.loss(answered, targets)
        return losses.classes + losses.boxes
    if isinstance(model, Segmenter):
        return model.loss(answered, targets)
    return optax.softmax_cross_entropy_with_integer_labels(answered, targets).mean()


def _train(model, variables, images, targets):
    """Return the first gradients, the parameters and statistics after all steps, and the loss of each."""
    params, batch_stats = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float64), (variables["params"], variables.get("batch_stats", {}))
    )
    chosen = Optimizer("sgd", weight_decay=DECAY, momentum=MOMENTUM)
    optimizer = make_optimizer(chosen, Schedule("constant", lr=RATE), steps_per_epoch=1)

    def loss_of(params, batch_stats, x, y):
        answered, updates = model.apply(
            {"params": params, "batch_stats": batch_stats}, x, train=True, mutable=["batch_stats"]
        )
        return _loss(model, answered, y), updates.get("batch_stats", {})

    @jax.jit
    def step(params, batch_stats, opt_state, x, y):
        (loss, batch_stats), grads = jax.value_and_grad(loss_of, has_aux=True)(params, batch_stats, x, y)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(grads, opt_state, params)
        return loss, grads, optax.apply_updates(params, updates), batch_stats, opt_state

    opt_state, first, losses = optimizer.init(params), None, []
    for x, y in zip(images, targets, strict=True):
        x, y = jax.tree.map(jnp.asarray, (x, y))
        loss, grads, params, batch_stats, opt_state = step(params, batch_stats, opt_state, x, y)
        first = grads if first is None else first
        losses.append(float(loss))
    return first, params, batch_stats, losses


def _loss_of_torch(model, found, targets):
    if isinstance(targets, boxes.Objects):
        return torch.stack(list(losses_of(model, found, targets).values())).sum()
    found = [*found.values()] if isinstance(found, dict) else [found]  # of the second head, too
    losses = [torch.nn.functional.cross_entropy(one, targets, ignore_index=IGNORED) for one in found]
    return losses[0] + AUXILIARY_WEIGHT * sum(losses[1:])


def _train_torch(model, images, targets):
    """The same from PyTorch, by its names; its running variances, n / (n - 1) times ours a step, made like ours."""
    model = model.double().train()
    freeze(model)
    positions, kept = {}, {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.training:
            kept[name] = (1 - module.momentum) ** STEPS * module.running_var.numpy()
            hook = partial(lambda name, _, x: positions.__setitem__(name, x[0].numel() // x[0].shape[1]), name)
            module.register_forward_pre_hook(hook)
        elif isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)
    first: dict[str, np.ndarray] = {}
    losses = []
    for x, y in zip(images, targets, strict=True):
        optimizer.zero_grad()
        found, y = answers(model, torch.from_numpy(x.transpose(0, 3, 1, 2))), jax.tree.map(torch.from_numpy, y)
        loss = _loss_of_torch(model, found, y)
        loss.backward()
        first = first or {name: p.grad.numpy().copy() for name, p in model.named_parameters() if p.grad is not None}
        losses.append(loss.item())
        optimizer.step()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    for name, n in positions.items():
        state[f"{name}.running_var"] = kept[name] + (state[f"{name}.running_var"] - kept[name]) * (n - 1) / n
    return first, state, losses
