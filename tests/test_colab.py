"""The notebook, run without Colab on the embedded digits, and again after an interruption."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "colab.ipynb"


def read():
    nbformat = pytest.importorskip("nbformat", reason="the notebook's libraries are not installed: .[docs]")
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_kept_without_outputs_and_set_for_the_real_job():
    cells = {cell["id"]: cell for cell in read().cells}
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells.values())
    assert "FAST = False" in cells["parameters"].source


@pytest.mark.slow
def test_the_notebook_runs_and_is_run_again_after_a_break(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: .[docs]")
    monkeypatch.setenv("XLA_FLAGS", "")  # one device: eight simulated ones only take longer

    def execute():
        notebook = read()
        cells = {cell["id"]: cell for cell in notebook.cells}
        cells["parameters"].source = cells["parameters"].source.replace("FAST = False", "FAST = True")
        nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return {name: cell.get("outputs", []) for name, cell in cells.items()}

    first = execute()
    said = "".join(output.get("text", "") for output in first["train"])
    for run, model in enumerate(("regular_cnn", "both_cnn", "separable_cnn"), start=1):
        assert f"{model}, seed 0 (run {run} of 3)" in said
    assert said.count("epoch 2/2") == 3
    assert len([output for output in first["figures"] if "image/png" in output["data"]]) == 9
    table = first["table"][0]["data"]["text/markdown"]
    # an interruption during the second network, whose row is not written yet
    (tmp_path / "runs/colab/digits/both_cnn-seed0/results.csv").unlink()
    again = execute()
    said = "".join(output.get("text", "") for output in again["train"])
    assert "Resuming from step 250 (epoch 2.00)" in said
    assert "epoch 1/2" not in said  # nothing is trained twice
    assert again["table"][0]["data"]["text/markdown"] == table
