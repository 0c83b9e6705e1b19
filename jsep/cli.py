"""The command line: what is typed becomes values, and errors become sentences. The work is done below."""

import dataclasses
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from jsep import tables
from jsep.errors import Diverged, Interrupted, UserError, nearest
from jsep.tables import console

HELP = """\
jsep: efficient convolutional networks in JAX and Flax.

  jsep models [PATTERN]         list the networks: parameters, multiply-accumulates, where the facts come from
  jsep show MODEL               one network layer by layer
  jsep train [MODEL]            train it into a run folder; --resume goes on
  jsep eval RUN                 accuracy and loss of a run's checkpoint
  jsep compare [EXPERIMENT]     train an experiment's networks and make a report of them
  jsep bench [MODEL]            its speed beside plain Flax and PyTorch
  jsep decompose RUN            a trained run's dense convolutions into separable ones, in a new run folder
  jsep tpu MODEL                its training step compiled for a TPU that need not be here: memory, bytes, bounds
  jsep data list|prepare        the data sets: what is there, what preparing one needs, and preparing it
  jsep port MODEL [FILE]        weights from PyTorch into a run folder; --check sets both networks side by side
  jsep export RUN --to FORMAT   a run's network as StableHLO, ONNX, TFLite or safetensors, checked against the live one

Every command explains itself: jsep train --help.
A first look: jsep show separable_cnn, then jsep compare.
"""


def models(pattern: Positional[str] = "*", table: bool = False) -> None:
    """List the networks that match a wildcard.

    Args:
        pattern: A shell wildcard, such as '*separable*'.
        table: As Markdown, with the published figures and the PyTorch references.
    """
    from jsep.models import list_models

    names = list_models(pattern)
    if not names:
        raise UserError(f"No network matches {pattern!r}; {nearest(pattern.strip('*'), list_models())}")
    if table:
        return tables.zoo(names)
    tables.networks(names)


def show(
    model: Positional[str],
    options: tuple[str, ...] = (),
    input: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    receptive: bool = False,
) -> None:
    """Print the layers of a network with their parameters, MACs and FLOPs, for one image.

    Args:
        model: Registered name; `jsep models` lists them.
        options: Options of the network, such as width=0.25.
        input: Height, width and channels; the published input unless said.
        num_classes: Size of the logits; the published number unless said.
        receptive: Instead of layers, print how far the units at the end of each stage see (a reconstruction).
    """
    from jsep.models import create_model, model_info, parse_options

    info = model_info(model)
    shape = input or info.input_shape
    if min(shape) < 1:
        raise UserError(f"--input {tables.size(shape)}: height, width and channels must be at least 1")
    if num_classes is not None and num_classes < 1:
        raise UserError(f"--num-classes {num_classes}: it must be at least 1")
    network = create_model(model, num_classes=num_classes, **parse_options(options))
    if options:  # what is published is of the network without them
        info = dataclasses.replace(info, summary=f"{info.summary} Here with {' '.join(options)}.", published={})
    (tables.receptive_fields if receptive else tables.layers)(info, network, shape)


def train(argv: Sequence[str]) -> int | None:
    """Train one network; with --resume or --init the config of that run is the default of every flag."""
    from jsep.train import RunConfig
    from jsep.train import train as run
    from jsep.train.hosts import CHILD, Hosts, is_first, supervise
    from jsep.train.run import RunFolder

    @dataclasses.dataclass(frozen=True)
    class Train:
        """Train one network into a run folder.

        The folder holds config.json, metrics.jsonl, TensorBoard events, checkpoints/ and results.csv.
        Ctrl-C saves, and --resume goes on.
        """

        config: OmitArgPrefixes[RunConfig]
        out: Path = Path("runs/run")
        """The run folder."""
        resume: bool = False
        """Go on with the run in --out; its own config holds where no flag says otherwise."""
        hosts: OmitArgPrefixes[Hosts] = dataclasses.field(default_factory=Hosts)

    def parse(default: RunConfig) -> Train:
        return tyro.cli(Train, prog="jsep train", default=Train(default), args=argv)

    @dataclasses.dataclass(frozen=True)
    class Earlier:
        """The fields that say whose config the defaults of all others are."""

        out: Path = Train.out
        resume: bool = Train.resume
        init: Path | None = None

    if {"-h", "--help"} & set(argv):  # of whatever is named beside it
        parse(RunConfig())
    earlier, _ = tyro.cli(Earlier, args=argv, return_unknown_args=True, add_help=False)
    begun = earlier.init if earlier.init and earlier.init.is_dir() else None
    base = earlier.out if earlier.resume else begun
    args = parse(RunFolder.open(base).config() if base else RunConfig())
    if args.hosts.several:
        if CHILD not in os.environ:
            return supervise(["train", *argv], args.out)
        args.hosts.join()
        console.quiet = not is_first()
    result = run(args.config, args.out, resume=args.resume, console=console)
    console.print(
        f"{result.model}: accuracy {result.accuracy:.2%} "
        f"(best {result.best_accuracy:.2%}, epoch {result.best_epoch}), "
        f"{result.train_seconds:.1f} s of training. The run is in {args.out}"
    )
    return 0


def evaluate(
    run: Positional[Path],
    checkpoint: str = "best",
    data: str | None = None,
    data_dir: Path | None = None,
    batch_size: int | None = None,
) -> None:
    """Evaluate a run's checkpoint on every test image, once.

    Args:
        run: The run folder.
        checkpoint: best, last, or a step.
        data: Another data set with the same number of classes; the run's own unless said.
        data_dir: Where TFDS keeps its data sets.
        batch_size: Images a step.
    """
    from jsep.train import evaluate_run

    given = {"data": data, "data_dir": data_dir, "batch_size": batch_size}
    changes = {key: value for key, value in given.items() if value is not None}
    found = evaluate_run(run, checkpoint=checkpoint, **changes)
    console.print(
        f"{found['model']} at step {found['step']} on the {found['images']:,} test images of {found['data']}: "
        f"accuracy {found['accuracy']:.2%}, loss {found['loss']:.4f} ({found['seconds']:.1f} s)"
    )
    if found["note"]:
        console.print(found["note"])


def compare(argv: Sequence[str]) -> None:
    """Train the networks of an experiment file, whose values are the defaults of every flag."""
    from jsep.compare import compare as run
    from jsep.experiment import find_experiment, load_experiment
    from jsep.train import Recipe

    named = bool(argv) and not argv[0].startswith("-")
    path = find_experiment(argv[0] if named else "depthwise_separable_cnn")
    experiment, lab_book = load_experiment(path)

    @dataclasses.dataclass(frozen=True)
    class Compare:
        recipe: OmitArgPrefixes[Recipe] = experiment.recipe
        models: tuple[str, ...] = experiment.models
        """The networks to train, in the order of the report."""
        seeds: int = experiment.seeds
        """Runs of each network, with seeds --seed, --seed + 1, ..."""
        out: Path = Path("runs") / path.stem
        """Folder of the runs, results.csv, the figures and report.html."""
        resume: bool = False
        """Keep what --out holds already and go on with the rest."""

    args = tyro.cli(
        Compare,
        prog="jsep compare [EXPERIMENT.py]",
        description=f"Train the networks of an experiment and show them side by side.\n\n{path.name}: {lab_book}",
        args=argv[named:],
    )
    chosen = dataclasses.replace(experiment, recipe=args.recipe, models=args.models, seeds=args.seeds)
    page = run(chosen, args.out, resume=args.resume, console=console)
    console.print(f"The report: {page}")


def bench(argv: Sequence[str]) -> None:
    """Race a network, or single convolutions, against plain Flax and PyTorch."""
    from jsep.bench import BenchConfig
    from jsep.bench import bench as run

    config = tyro.cli(BenchConfig, prog="jsep bench", args=argv)
    run(config, console)
    console.print(f"The figures: {config.out / 'bench.csv'}, {config.out / 'bench.png'}")


def decompose(
    run: Positional[Path],
    method: Literal["svd", "data", "comp", "als", "channel_svd", "channel", "spatial"] = "comp",
    sweeps: int = 3,
    symmetric: bool = False,
    relu: bool = False,
    images: int = 1000,
    points: int = 10,
    layers: tuple[str, ...] = ("*",),
    plan: Path | None = None,
    write_plan: Path | None = None,
    recalibrate: int = 20,
    checkpoint: str = "best",
    data: str | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
    out: Path = Path("runs/decomposed"),
) -> None:
    """Turn the dense convolutions of a trained run into cheaper ones, layer by layer, all at equal MACs.

    The new run folder is one that `jsep eval` takes and `jsep train --init` tunes further; layers.csv and layers.png
    in it say what became of each layer.

    Args:
        run: The run folder of the trained network.
        method: Depthwise separable by the weights alone (svd), by each channel's data (data), with compensation
            between channels (comp), or alternating least squares (als); rivals at the same MACs: few channels by the
            weights (channel_svd) or by data (channel), a column and a row (spatial).
        sweeps: Of comp, through all channels.
        symmetric: Fit each layer to the untouched network, not to what the layers before it now deliver.
        relu: Refit the pointwise part to the response behind a ReLU; for layers that have one behind them.
        images: Training images to fit to.
        points: Windows of each image and layer.
        layers: Wildcards of the convolutions to replace, such as 'stage[345]_*'.
        plan: A plan as --write-plan makes it, edited or not, instead of --layers.
        write_plan: Write the plan here and stop.
        recalibrate: Batches of training images that renew the statistics of all batch norms; 0 for none.
        checkpoint: best, last, or a step.
        data: Another data set to fit to; the run's own unless said.
        data_dir: Where TFDS keeps its data sets.
        seed: Of images and windows.
        out: The new run folder.
    """
    from jsep.compress import Options, save_plan
    from jsep.decompose import Source, decompose_run

    for flag, value in (("sweeps", sweeps), ("points", points)):
        if value < 1:
            raise UserError(f"--{flag} {value}: it must be at least 1")
    for flag, value in (("recalibrate", recalibrate), ("seed", seed)):
        if value < 0:
            raise UserError(f"--{flag} {value}: it must be at least 0")
    given = {key: value for key, value in (("data", data), ("data_dir", data_dir)) if value is not None}
    source = Source.open(run, checkpoint, **given)
    options = Options(method, sweeps, symmetric, relu, points, seed)
    chosen = source.plan(options, layers, plan)
    if write_plan:
        save_plan(chosen, write_plan)
        console.print(f"{len(chosen)} convolutions: the plan is in {write_plan}; --plan {write_plan} carries it out")
        return
    rows = decompose_run(source, chosen, options, out, images=images, recalibrate=recalibrate, console=console)
    tables.decomposition(rows, out)


def tpu(argv: Sequence[str]) -> None:
    """Compile training steps for a TPU that need not be here, and say what the compiler knows of them."""
    import jax

    from jsep.tpu import Target
    from jsep.tpu import compare as run

    @dataclasses.dataclass(frozen=True)
    class Tpu:
        """Compile a network's training step for a TPU that need not be here.

        Says what memory it needs, what it computes and moves, what binds it, and which layers cost most.
        The compiler is libtpu (Linux, `pip install 'jsep[tpu-compiler]'`); minutes a network.
        """

        model: Positional[str] = "mobilenet_v1"
        """Registered name; `jsep models` lists them."""
        options: tuple[str, ...] = ()
        """Options of the network, such as width=0.25."""
        target: OmitArgPrefixes[Target] = dataclasses.field(default_factory=Target)
        compare: tuple[str, str] | None = None
        """Two networks side by side instead, each alone or with options of its own: 'mobilenet_v1 width=0.5'."""
        layers: int = 12
        """How many of the costliest layers to print; 0 for none."""

        def __post_init__(self) -> None:
            if self.layers < 0:
                raise UserError(f"--layers {self.layers}: it must be at least 0")

    args = tyro.cli(Tpu, prog="jsep tpu", args=argv)
    jax.config.update("jax_platforms", "cpu")  # a TPU that is here is left alone
    with console.status("Compiling"):
        found = run(args.compare or [args.model], args.options, args.target)
    tables.tpu(found, args.layers)


def port(
    model: Positional[str],
    file: Positional[Path | None] = None,
    check: bool = False,
    options: tuple[str, ...] = (),
    out: Path = Path("runs/port"),
    data: str | None = None,
    normalize: Literal["dataset", "unit", "imagenet"] | None = None,
    size: int | None = None,
) -> None:
    """Carry weights over from PyTorch, name by name, or not at all.

    The run folder gets a checkpoint that `jsep eval` takes, and weights.safetensors by our names.

    Args:
        model: Registered name; `jsep models` lists them.
        file: A .safetensors or .pth file of the names that pytorchcv, torchvision or timm have for this network.
        check: Instead, build the PyTorch references with random weights and print the differences stage by stage.
        options: Options of the network that the weights belong to, such as shortcut=projection.
        out: The run folder.
        data: What to evaluate on; the data set of the published network unless said.
        normalize: What the network was fed; as published unless said.
        size: Height and width of the images of --check; the published ones unless said.
    """
    if check:
        if file or options:
            raise UserError("--check compares random weights of the known references: leave the file and --options out")
        return _check_port(model, size)
    if file is None:
        raise UserError(f"jsep port {model}: give the file of its weights, or --check")
    from jsep.adopt import adopt_file

    config, arrays = adopt_file(model, file, out, options=options, data=data, normalize=normalize)
    console.print(
        f"{model}: {sum(array.size for array in arrays.values()):,} values in {len(arrays)} arrays, all accounted for. "
        f"{out} holds a checkpoint and weights.safetensors; jsep eval {out} evaluates it on {config.data}"
    )


def _check_port(model: str, size: int | None) -> None:
    from jsep.models import model_info
    from jsep.port import TOLERANCE, compare_with_torch

    references = model_info(model).references
    if not references:
        raise UserError(f"{model} has no public PyTorch reference to be checked against")
    if size is not None and size < 1:
        raise UserError(f"--size {size}: it must be at least 1")
    worst = 0.0
    for reference, options in references.items():
        with console.status(f"Building {reference} and {model}"):
            rows = compare_with_torch(model, reference, size=size)
        tables.differences(f"{model} and {reference}", options, rows)
        worst = max(worst, *(row.relative for row in rows))
    if not worst <= TOLERANCE:
        raise UserError(
            f"{model} is not its reference: {worst:.1e} apart, where rounding makes at most {TOLERANCE:.0e}"
        )


def data(argv: Sequence[str]) -> None:
    """List the data sets, or prepare one."""

    def listing(data_dir: Path | None = None) -> None:
        """List the data sets that have a name, and where they lie.

        Args:
            data_dir: Where TFDS keeps its data sets ($TFDS_DATA_DIR or ~/tensorflow_datasets unless said).
        """
        tables.data_sets(data_dir)

    def prepare(name: Positional[str], data_dir: Path | None = None) -> None:
        """Say what preparing a data set needs, then download and prepare it.

        Args:
            name: As `jsep data list` has it.
            data_dir: Where TFDS keeps its data sets ($TFDS_DATA_DIR or ~/tensorflow_datasets unless said).
        """
        from jsep.data.prepare import needs
        from jsep.data.prepare import prepare as run
        from jsep.data.sources import EMBEDDED, data_folder, find_entry, newest_version

        if name == EMBEDDED:
            console.print(f"{EMBEDDED} is a part of jsep: nothing to prepare")
            return
        entry, folder = find_entry(name), data_folder(data_dir)
        there = newest_version(folder / entry.tfds_name)
        if there is None:
            console.print(f"Preparing {name} needs:")
            for need in needs(entry, folder):
                console.print(f"  {need}")
            run(entry, folder)
            there = newest_version(folder / entry.tfds_name)
        console.print(f"{name} is prepared: {there}")

    tyro.extras.subcommand_cli_from_dict({"list": listing, "prepare": prepare}, prog="jsep data", args=argv)


def export(
    run: Positional[Path],
    to: Literal["stablehlo", "onnx", "tflite", "safetensors"],
    out: Path | None = None,
    checkpoint: str = "best",
    images: int = 100,
    data: str | None = None,
    data_dir: Path | None = None,
) -> None:
    """Write a run's network for other programs, run the file, and compare its logits with the live network's.

    The file takes float32 images (n, h, w, c) from 0 to 1 and gives logits: the run's normalisation is inside, batch
    norms are folded into convolutions. safetensors holds the weights alone, as trained. The facts (classes, sizes)
    are written beside the file as JSON.

    Args:
        run: The run folder.
        to: stablehlo (jax.export), onnx and tflite (extras of their own), or safetensors.
        out: The file; model.FORMAT in the run folder unless said.
        checkpoint: best, last, or a step.
        images: Test images to compare on, beside 16 random ones.
        data: Another data set with the same classes; the run's own unless said.
        data_dir: Where TFDS keeps its data sets.
    """
    from jsep.export import export_run

    changes = {key: value for key, value in (("data", data), ("data_dir", data_dir)) if value is not None}
    tables.exported(export_run(run, to, out, checkpoint=checkpoint, images=images, **changes), to)


def _typed(function: Callable[..., None], name: str) -> Callable[[Sequence[str]], None]:
    """A command whose flags are simply the function's parameters."""
    return lambda argv: tyro.cli(function, prog=f"jsep {name}", args=argv)


COMMANDS: dict[str, Callable[[Sequence[str]], int | None]] = {
    "models": _typed(models, "models"),
    "show": _typed(show, "show"),
    "train": train,
    "eval": _typed(evaluate, "eval"),
    "compare": compare,
    "bench": bench,
    "decompose": _typed(decompose, "decompose"),
    "tpu": tpu,
    "data": data,
    "port": _typed(port, "port"),
    "export": _typed(export, "export"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit code: 0; 2 for input that cannot work; 1 for a diverged run; 130 for Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    _quiet()
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    try:
        if argv[0] == "--version":
            from jsep import __version__

            print(f"jsep {__version__}")
        elif argv[0] in COMMANDS:
            return COMMANDS[argv[0]](argv[1:]) or 0
        else:
            raise UserError(f"There is no command {argv[0]!r}; {nearest(argv[0], COMMANDS)}")
    except UserError as error:
        return _fail(error.as_typed(), 2)
    except Diverged as error:
        return _fail(error, 1)
    except Interrupted as error:
        return _fail(error, 130)
    except KeyboardInterrupt:
        return _fail("Stopped.", 130)
    return 0


def _fail(sentence: object, code: int) -> int:
    print(f"jsep: {sentence}", file=sys.stderr)
    return code


def _quiet() -> None:
    """Libraries' chatter is not ours: of absl, TensorFlow's readers and Orbax only errors are shown."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the converter to TFLite announces them, whatever the level
    for name in ("absl", "orbax", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.formatwarning = lambda message, *_: f"jsep: {message}\n"
