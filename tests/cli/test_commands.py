"""Commands as they are typed, and the messages that come back, never a traceback."""

import csv
import errno
import json
import re

import jax
import numpy as np
import pytest

from conftest import picture
from jsep.cli.main import COMMANDS, HELP, main
from jsep.data import Data, prepare
from jsep.errors import Diverged, NotWritten, UserError
from jsep.models import create_model
from jsep.runs.adopt import save_weights
from jsep.runs.experiments import find_experiment, load_experiment
from jsep.train import Recipe, RunConfig


def run(capsys, *argv: str) -> tuple[int, str, str]:
    try:
        code = main(argv)
    except SystemExit as stop:  # tyro's own errors and --help
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys)
    assert (code, out) == (0, HELP)
    assert all(f"jsep {name} " in HELP for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys, name):
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert "--help" in out


def test_models(capsys):
    code, out, _ = run(capsys, "models", "*separable*")
    assert code == 0
    assert "1,094,373" in out
    assert "330,788,480" in out
    assert "regular_cnn" not in out


def test_show(capsys):
    code, out, _ = run(capsys, "show", "regular_cnn", "--input", "28", "28", "1", "--options", "width=0.5")
    assert code == 0
    assert "conv1" in out
    assert "28x28x256" in out
    assert "Here with width=0.5" in out
    assert "published" not in out
    code, out, _ = run(capsys, "show", "regular_cnn")
    assert "5,825,967,818" in out
    assert "published" in out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["trian"], "There is no command 'trian'; did you mean train?"),
        (["models", "*shufle*"], "No network matches"),
        (["show", "regular"], "There is no model 'regular'; did you mean regular_cnn"),
        (["show", "regular_cnn", "--options", "widht=1"], "no option 'widht'; did you mean width"),
        (["show", "regular_cnn", "--input", "4", "4", "3"], "at least 8x8"),
        (["export", "nowhere", "--to", "stablehlo"], "no run folder, file or published weights nowhere: correct it"),
        (["export", "nowhere", "--to", "stablehlo", "--images", "0"], "--images 0: it must be at least 1"),
        (["train", "regular_cn"], "There is no model"),
        (["train", "--data", "mnst"], "no data set 'mnst', nor a file or folder of this name; did you mean mnist"),
        (["train", "--epochs", "0"], "--epochs 0: it must be at least 1"),
        (["train", "--batch-size", "2000000"], "--batch-size 2000000: it must be at least 1 and at most 1,048,576"),
        (["eval", __file__], "is a .py file: give a .safetensors, .pth, .keras or .h5 file of weights"),
        (["train", "--batch-size", "30"], "cannot be shared by 8 devices"),
        (["train", "--batch-size", "8000"], "larger than the 4000 training images"),
        (["train", "--options", "width"], "write it as name=value"),
        (["train", "--normalize", "imagenet"], "needs colour images"),
        (["train", "--devices", "99"], "there are 8 here"),
        (["train", "--resume", "--out", "nowhere"], "no run folder, file or published weights nowhere: correct it"),
        (["eval", "nowhere"], "no run folder, file or published weights nowhere: correct it"),
        (["train", "--resume", "--seeds", "3", "--out", "nowhere"], "--seeds 3: it must be at least two different"),
        (["train", "--seeds"], "--seeds none: it must be at least two different numbers"),
        (["eval", "nowhere", "--out", "x"], "--out is the folder of the files that --per-class writes"),
        (["eval", "nowhere", "--per-class"], "no run folder, file or published weights nowhere: correct it"),
        (["train", "--stream"], "leave --stream out"),
        (["train", "--workers", "-1"], "--workers -1: it must be at least 0"),
        (["train", "--erase", "2"], "--erase 2.0: it must be from 0 to 1"),
        (["train", "--jitter", "-1"], "--jitter -1.0: it must be from 0 to 1"),
        (["train", "--randaugment", "2", "31"], "at a magnitude from 0 to 30"),
        (
            ["data", "prepare", "cifr10"],
            "nor a file or folder of this name; did you mean cifar10",
        ),
        (["data", "prepare", "..", "--short-side", "0"], "--short-side 0: it must be at least 1"),
        (["data", "prepare", ".."], ".. is on this machine and needs no preparation: give --data .. to jsep train, or"),
        (
            ["train", "--init", "junk.pth"],
            "junk.pth is not a file: give a .safetensors, .pth, .keras or .h5 file of weights",
        ),
        (["train", "--seed", str(2**63)], "at least 0 and less than 2**63"),
        (["port", "resnet20", "weights.pth", "--check"], "leave the file and --options out"),
        (["port", "resnet20"], "give the file of its weights, or --check"),
        (["port", "resnet20", "nothing.pth"], "nothing.pth is not a file"),
        (["port", "resnet2"], "give the file of its weights"),
        (["port", "separable_cnn", "--check"], "no public PyTorch reference"),
        (["port", "--check", "resnet20", "--size", "0"], "--size 0: it must be at least 1"),
        (["tpu", "mobilnet_v1"], "There is no model 'mobilnet_v1'; did you mean mobilenet_v1"),
        (["tpu", "separable_cnn", "--chip", "v5"], "--chip v5: there is no such TPU; did you mean v5p or v5e or v4"),
        (["tpu", "separable_cnn", "--topology", "0x2"], "write sides of at least 1, such as 2x4"),
        (["tpu", "--batch", "0"], "--batch 0: it must be at least 1"),
        (["tpu", "separable_cnn", "--input", "4", "4", "3"], "at least 8x8"),
        (["tpu", "--layers", "-1"], "--layers -1: it must be at least 0"),
        (["compare", "nothing.py"], "There is no experiment 'nothing.py'"),
        (["compare", "--models", "regular_cnn", "regular_cnn"], "name each network once"),
        (["compare", "--seeds", "0"], "--seeds 0"),
        (["train", "--epoch", "3"], "--epoch, 3 (did you mean --decay-epochs or --epochs or --warmup-epochs?)"),
        (["train", "--lr", "high"], "--lr: could not convert string to float: 'high'; see jsep train --help"),
        (["train", "--lr", "inf"], "--lr inf: it must be a finite number"),
        (
            ["eval"],
            "Missing from jsep eval: RUN Run folder, published weights such as timm/resnet50.a1_in1k, or file",
        ),
        (["data", "prepar"], "Unrecognized options: prepar; see jsep data --help"),
    ],
)
def test_wrong_input_gives_one_sentence_and_two(capsys, tmp_path, monkeypatch, argv, sentence):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())  # nothing was started


@pytest.mark.parametrize(
    ("name", "words"),
    [("models", "[PATTERN]"), ("show", "MODEL"), ("train", "[MODEL]"), ("eval", "RUN"), ("port", "MODEL [FILE]")],
)
def test_help_gives_positional_arguments_names(capsys, name, words):
    _, out, _ = run(capsys, name, "--help")
    assert f" {words}" in out.splitlines()[0]
    assert "STR]" not in out.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((errno.EACCES, "Denied", "/somewhere/run"), 2, "/somewhere/run cannot be used (Denied): give another path"),
        ((errno.ENOSPC, "No space"), 1, "A file could not be written (No space): make room, then start again"),
    ],
)
def test_an_error_of_files_that_no_command_expected_is_a_sentence(capsys, monkeypatch, arguments, code, sentence):
    def fail(*_):
        raise OSError(*arguments)

    monkeypatch.setattr("jsep.cli.main.run_command", fail)
    assert run(capsys, "eval", "x") == (code, "", f"jsep: {sentence}\n")


@pytest.mark.parametrize("error", [Diverged("no number"), NotWritten("no room")])
def test_a_training_that_cannot_go_on_exits_with_one(capsys, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("jsep.cli.main.run_command", fail)
    assert run(capsys, "train") == (1, "", f"jsep: {error}\n")


def test_an_experiment_is_found_by_name_or_path(tmp_path):
    path = find_experiment("depthwise_separable_cnn")
    assert load_experiment(path)[0].models == ("regular_cnn", "both_cnn", "separable_cnn")
    (tmp_path / "mine.py").write_text("experiment = 3")
    with pytest.raises(UserError, match="must define experiment"):
        load_experiment(find_experiment(str(tmp_path / "mine.py")))
    (tmp_path / "broken.py").write_text("import nothing_of_the_kind")
    with pytest.raises(UserError, match="cannot be loaded: ModuleNotFoundError"):
        load_experiment(tmp_path / "broken.py")


def test_train_eval_compare_from_the_command_line(capsys, tmp_path, tiny_tfds):
    small = ["--data", str(tiny_tfds), "--epochs", "1", "--batch-size", "16", "--devices", "1"]
    small += ["--options", "depth=7", "growth=2", "--schedule", "constant"]  # one program for any number of epochs
    out = tmp_path / "run"
    code, said, _ = run(capsys, "train", "densenet40_k12", *small, "--out", str(out))
    assert code == 0
    assert "epoch 1/1" in said
    assert json.loads((out / "config.json").read_text())["model"] == "densenet40_k12"
    code, said, _ = run(capsys, "eval", str(out))
    assert code == 0
    assert "20 test images of tiny" in said
    assert "top-5" not in said  # of two classes
    assert f"Next: jsep eval {out} --per-class" in said
    assert not (out / "eval").exists()
    code, said, _ = run(capsys, "eval", str(out), "--per-class")
    assert code == 0
    assert "mean of all classes" in said
    scores = list(csv.DictReader((out / "eval" / "per_class.csv").read_text().splitlines()))
    assert [(row["name"], row["support"]) for row in scores] == [("dark", "10"), ("bright", "10")]
    table = list(csv.reader((out / "eval" / "confusion.csv").read_text().splitlines()))
    assert sum(int(cell) for row in table[1:] for cell in row[1:]) == 20
    assert (out / "eval" / "confusion.png").exists()
    mistaken = sum(int(table[i + 1][j + 1]) for i, j in ((0, 1), (1, 0)))
    assert (out / "eval" / "mistakes.png").exists() == bool(mistaken)
    # resuming with the run's own config and one field changed
    code, said, _ = run(capsys, "train", "--resume", "--out", str(out), "--epochs", "2")
    assert code == 0
    assert "Resuming from step 3" in said
    code, _, err = run(capsys, "train", "--resume", "--out", str(out), "--lr", "0.1")
    assert (code, "is finished after 2 epochs: raise --epochs" in err) == (2, True)
    # a flag is checked against the run's other settings, not against the default of 15 epochs
    code, _, err = run(capsys, "train", "--resume", "--out", str(out), "--warmup-epochs", "20")
    assert (code, "less than the 2 epochs" in err) == (2, True)
    code, said, _ = run(capsys, "train", "--resume", "--out", str(out), "--epochs", "3")
    assert code == 0

    folder = tmp_path / "compare"
    words = ["compare", "--models", "densenet40_k12", *small, "--seeds", "2", "--out", str(folder)]
    code, said, _ = run(capsys, *words)
    assert code == 0
    assert "densenet40_k12, seed 1 (run 2 of 2)" in said
    assert not jax.devices()[0].client.live_executables()  # too many of them would crash the process
    assert "densenet40_k12" in (folder / "report.html").read_text()
    assert len(list((folder / "figures").glob("*.svg"))) == 8
    assert [path.parent.name for path in folder.glob("figures/*/confusion.png")] == ["densenet40_k12-seed0"]
    assert "The confusion matrix of densenet40_k12" in (folder / "report.html").read_text()
    code, said, err = run(capsys, *words)
    assert code == 2
    assert "keep them with --resume" in err
    code, said, _ = run(capsys, *words, "--resume")
    assert code == 0
    assert "epoch" not in said  # nothing is trained again
    code, _, err = run(capsys, "compare", "--models", "densenet40_k12", *small, "--out", str(out))
    assert code == 2
    assert "is the folder of a single run" in err
    for finished in (True, False):
        code, _, err = run(capsys, *words, "--resume", "--lr", "0.5")
        assert code == 2
        assert "other settings (lr)" in err
        if finished:
            next(folder.glob("*-seed0/results.csv")).unlink()


@pytest.fixture(scope="module")
def resnet8(tmp_path_factory, drawn):
    """A run that was never trained, of a network for images of eight pixels in six classes."""
    home = tmp_path_factory.mktemp("predict")
    variables = drawn(create_model("resnet20", num_classes=6, depth=8), (1, 8, 8, 3))
    data = Data(image_size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    save_weights(RunConfig("resnet20", {"depth": 8}, Recipe(data=data)), variables, home / "run")
    for name in ("a.png", "[b].png"):
        (home / name).write_bytes(picture(np.zeros((9, 11, 3), np.uint8), "PNG"))
    (home / "junk.png").write_bytes(b"junk")
    return home


def test_predict_from_the_command_line(capsys, resnet8, monkeypatch):
    monkeypatch.chdir(resnet8)
    code, said, err = run(capsys, "predict", "run", "a.png", "[b].png", "--sheet", "s.png", "--json", "p.jsonl")
    assert (code, err) == (0, "")
    head, *rows, then = said.splitlines()
    assert head.split() == ["picture", "class", "probability", "then"]
    assert [row.split()[0] for row in rows] == ["a.png", "[b].png"]
    assert rows[0].count("class ") == 5
    assert then == "Next: jsep export run --to tflite --int8"
    written = [json.loads(line) for line in (resnet8 / "p.jsonl").read_text().splitlines()]
    assert [line["file"] for line in written] == ["a.png", "[b].png"]
    assert written[0]["classes"] == written[1]["classes"]
    assert written[0]["probabilities"] == sorted(written[0]["probabilities"], reverse=True)
    assert (resnet8 / "s.png").read_bytes().startswith(b"\x89PNG")

    (resnet8 / "s.png").unlink()
    code, said, err = run(capsys, "predict", "run", "junk.png", "a.png", "--top", "9", "--json", "-")
    assert (code, err) == (2, "jsep: junk.png cannot be decoded: it is not a picture in a format that Pillow knows\n")
    broken, sound = map(json.loads, said.splitlines())
    assert broken == {"file": "junk.png", "error": "it is not a picture in a format that Pillow knows"}
    assert len(sound["classes"]) == 6
    assert not (resnet8 / "s.png").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "a.pgn"], "There is no picture a.pgn (did you mean a.png?)"),
        (["run", "a.png", "--sheet", "s.jpg"], "--sheet s.jpg: give a name that ends in .png"),
        (["run", "a.png", "--json", "no/p.jsonl"], "--json no/p.jsonl: there is no folder no"),
        (["run", "a.png", "--top", "0"], "--top 0: it must be at least 1"),
        (["run"], "give at least one file, folder or pattern"),
        (["model.onnx", "a.png", "--checkpoint", "last"], "--checkpoint last: model.onnx is an exported file"),
        (["model.onnx", "a.png"], "There is no file model.onnx"),
    ],
)
def test_predict_refuses_before_it_writes(capsys, resnet8, monkeypatch, words, sentence):
    monkeypatch.chdir(resnet8)
    before = sorted(resnet8.iterdir())
    code, said, err = run(capsys, "predict", *words)
    assert (code, said) == (2, "")
    assert sentence in err
    assert sorted(resnet8.iterdir()) == before


def test_data_sets_are_listed_with_what_is_there(capsys, tmp_path):
    (tmp_path / "cifar10" / "3.0.2").mkdir(parents=True)
    (tmp_path / "cifar10" / "3.0.2" / "dataset_info.json").touch()
    code, said, _ = run(capsys, "data", "list", "--data-dir", str(tmp_path))
    lines = {line.split()[0]: line.split() for line in said.splitlines() if line}
    assert code == 0
    assert lines["mnist5k"][1:] == ["10", "5,000", "28x28x1", "in", "memory", "in", "the", "package"]
    assert lines["cifar10"][-1] == str(tmp_path / "cifar10" / "3.0.2")
    assert lines["cifar100"][-1] == "no"
    assert lines["imagenet2012"][1:] == ["1,000", "1,331,167", "224x224x3", "streamed", "no"]
    assert "memory" in lines["svhn_cropped_extra"]


@pytest.mark.parametrize(
    ("name", "need", "missing"),
    [
        ("cifar10", "a download of 170 MB", "there is no network"),
        ("imagenet2012", "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar", "put them into"),
        ("caltech256", "256_ObjectCategories.tar", "put it into"),
    ],
)
def test_what_preparing_needs_is_said_before_it_fails(capsys, tmp_path, monkeypatch, name, need, missing):
    monkeypatch.setattr(prepare, "_has_network", lambda: False)
    code, said, err = run(capsys, "data", "prepare", name, "--data-dir", str(tmp_path))
    assert code == 2
    assert said.startswith(f"Preparing {name} needs:")
    assert need in said
    assert ("TensorFlow" in said) == (name == "imagenet2012")
    assert missing in err
    assert not list(tmp_path.iterdir())


def test_a_smaller_copy_says_where_it_lies_and_how_large_it_is(capsys, tmp_path, jpeg_tfds):
    words = ("data", "prepare", str(jpeg_tfds), "--short-side", "32", "--data-dir", str(tmp_path))
    said = run(capsys, *words)[1]
    assert "shorter side 32 pixels, JPEG of quality 90" in said
    assert re.search(
        rf"68 pictures, 0\.\d MB before and 0\.\d MB now: give --data {tmp_path}/tiny_jpeg_32_q90/1\.0\.0", said
    )
    assert f"68 pictures, copied before: give --data {tmp_path}/tiny_jpeg_32_q90/1.0.0" in run(capsys, *words)[1]
    assert "--quality 0: it must be from 1 to 100" in run(capsys, *words, "--quality", "0")[2]


def test_port_and_eval_from_the_command_line(capsys, tmp_path, tiny_tfds, resnet8_state):
    from safetensors.numpy import load_file, save_file

    state = resnet8_state(2)
    weights, out = tmp_path / "weights.safetensors", tmp_path / "run"
    save_file(state, weights)
    words = ["port", "resnet20", str(weights), "--options", "depth=8", "--data", str(tiny_tfds), "--out", str(out)]
    code, said, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert "all accounted for" in said
    ours = load_file(out / "weights.safetensors")
    kernel = ours["params/stage2_block1_conv1/kernel"]
    assert kernel[1, 2, 3, 4] == state["layer2.0.conv1.weight"][4, 3, 1, 2]
    code, said, _ = run(capsys, "eval", str(out), "--batch-size", "16")
    assert code == 0
    assert "resnet20 at step 0 on the 20 test images of tiny" in said
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "already holds a run" in err
    code, _, err = run(capsys, *words[:3], "--out", str(tmp_path / "other"))
    assert code == 2
    assert "stage1_block2_conv1_norm/mean needs layer1.1.bn1.running_mean, which is missing" in err
    assert not (tmp_path / "other").exists()
