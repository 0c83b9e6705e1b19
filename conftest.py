"""Strict arrays, eight simulated devices, and a tiny prepared TFDS directory."""

import atexit
import gc
import io
import os
import shutil
import tempfile

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
# The suite spends its time in the compiler, not in the programs. `make test-all` also tests the numerics optimised.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "PYTEST_XDIST_WORKER" not in os.environ:
    # the workers, and the processes that tests start, share what they compile in this run
    programs = tempfile.mkdtemp(prefix="jsep-programs-")
    atexit.register(shutil.rmtree, programs, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from jaxtyping import config, install_import_hook

# in the rooms of arrays, annotated types and shapes are checked at every call
CHECKED = ["jsep.ops", "jsep.layers"]
install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

CLASSES = ("dark", "bright")


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs() -> Iterator[None]:
    """Drop compiled programs before they fill the process's table of memory maps.

    Linux lets a process map 65,530 pieces of memory. XLA's CPU code takes dozens per program, and beyond the limit the
    process dies with a signal. Until then, files of tests share what they compiled.
    """
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > 10_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Let values of a wrong type through, for tests of what the code itself says about them."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _doctest_names(request: pytest.FixtureRequest) -> None:
    """Give the examples in docstrings the names that they may use without importing them."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    import jax.numpy as jnp

    import jsep
    from jsep import layers

    names = {"jax": jax, "jnp": jnp, "np": np, "layers": layers}
    request.getfixturevalue("doctest_namespace").update(names, create_model=jsep.create_model)


def picture(pixels: np.ndarray, encoding: str) -> bytes:
    """Return the pixels as a file of that encoding."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, encoding)
    return file.getvalue()


@pytest.fixture(scope="session")
def tiny_tfds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared TFDS directory `tiny/1.0.0`: 48 + 20 images of 8x8x3 in two classes, told apart by brightness."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")

    class Tiny(tfds.core.GeneratorBasedBuilder):
        pkg_dir_path = tfds.core.Path(folder)  # no package is looked for on disk
        VERSION = tfds.core.Version("1.0.0")
        SHAPE, ENCODING, SPLITS = (8, 8, 3), "png", ("train", "test")

        def _info(self) -> tfds.core.DatasetInfo:
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=self.SHAPE, encoding_format=self.ENCODING),
                    "label": tfds.features.ClassLabel(names=list(CLASSES)),
                }
            )
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):  # type: ignore[no-untyped-def]
            train, test = self.SPLITS
            return {train: self._generate_examples(48, 0), test: self._generate_examples(20, 1)}

        def _size(self, rng: np.random.Generator) -> tuple[int, ...]:
            return self.SHAPE

        def _generate_examples(self, number: int, seed: int):  # type: ignore[no-untyped-def]
            rng = np.random.default_rng(seed)
            for i in range(number):
                label = i % 2
                pixels = rng.integers(0, 100, self._size(rng), np.uint8) + np.uint8(120 * label)
                yield i, {"image": io.BytesIO(picture(pixels, self.ENCODING)), "label": label}

    class TinyJpeg(Tiny):
        SHAPE, ENCODING, SPLITS = (None, None, 3), "jpeg", ("train", "validation")

        def _size(self, rng: np.random.Generator) -> tuple[int, ...]:
            return (*map(int, rng.integers(40, 120, 2)), 3)

    for builder in (Tiny, TinyJpeg):
        builder(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder / "tiny" / "1.0.0"


@pytest.fixture(scope="session")
def jpeg_tfds(tiny_tfds: Path) -> Path:
    """The same as ImageNet comes: JPEGs of many sizes, 40 to 119 pixels a side, evaluated on `validation`."""
    return tiny_tfds.parent.parent / "tiny_jpeg" / "1.0.0"


@pytest.fixture
def resnet8_state():
    """A random state dict of a ResNet-8 in the layout of akamaster/pytorch_resnet_cifar10."""

    def make(classes: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        state: dict[str, np.ndarray] = {}

        def norm(name: str, features: int) -> None:
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"{name}.{part}"] = rng.uniform(0.5, 1.5, features)

        def block(prefix: str, inputs: int, features: int) -> None:
            for i, channels in ((1, inputs), (2, features)):
                state[f"{prefix}conv{i}.weight"] = rng.normal(size=(features, channels, 3, 3))
                norm(f"{prefix}bn{i}", features)

        state["conv1.weight"] = rng.normal(size=(16, 3, 3, 3))
        norm("bn1", 16)
        for stage, (inputs, features) in enumerate(((16, 16), (16, 32), (32, 64)), start=1):
            block(f"layer{stage}.0.", inputs, features)
        state["linear.weight"], state["linear.bias"] = rng.normal(size=(classes, 64)), rng.normal(size=classes)
        return {name: value.astype(np.float32) for name, value in state.items()}

    return make


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub on loopback without repositories, and an empty cache, for huggingface_hub in this process."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="fetches from the hub")
    from hub import Hub  # pyright: ignore[reportMissingImports] (of tests/)

    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    with Hub(tmp_path / "hub").serving() as served:
        address = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield served


@pytest.fixture(scope="session")
def drawn():
    """Draw a module's variables, statistics included, with no number at its default and nothing compiled."""
    from flax.traverse_util import path_aware_map

    ranges = {"mean": (-0.3, 0.3), "var": (0.5, 1.5), "scale": (0.5, 1.5), "bias": (-0.3, 0.3)}

    def make(module, *shapes: tuple[int, ...], dtype: str = "float32", **call):
        rng = np.random.default_rng(0)

        def draw(path, leaf) -> np.ndarray:
            if path[-1] in ranges:
                return rng.uniform(*ranges[path[-1]], leaf.shape).astype(dtype)
            return (rng.normal(size=leaf.shape) * (2 / np.prod(leaf.shape[:-1])) ** 0.5).astype(dtype)

        inputs = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
        made = jax.eval_shape(lambda key, *inputs: module.init(key, *inputs, **call), jax.random.key(0), *inputs)
        return path_aware_map(draw, made)

    return make


@pytest.fixture(scope="session")
def trained(drawn):
    """Return a network by name with options as if it were trained: (model, variables)."""
    from jsep.models import create_model, parse_options

    def make(text: str, shape: tuple[int, int, int]):
        name, *options = text.split()
        model = create_model(name, num_classes=10, **parse_options(options))
        return model, drawn(model, (1, *shape))

    return make
