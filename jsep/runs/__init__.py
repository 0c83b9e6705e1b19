"""Run folders: training into them, evaluating, comparing and decomposing them.

`training.train` trains a network into a folder, `evaluate.load_run` opens a checkpoint, and `evaluate.evaluate_run`
evaluates it. `comparison` trains several networks and writes a report, `decomposition` makes a new run with cheaper
convolutions, and `adopt` makes a run from PyTorch's weights. `folder`, `config`, `log`, `rows` and `checkpoint` (the
only file that knows Orbax) read and write the files of a run.
"""
