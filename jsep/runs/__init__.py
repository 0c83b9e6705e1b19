"""Run folders: what trains into them, opens, compares and decomposes them.

`training.train` trains one network into a folder, `evaluate.evaluate_run` evaluates its checkpoint, and
`evaluate.load_run` opens it. `comparison` trains several networks and makes a report, `decomposition` turns a run into
one of cheaper convolutions, and `adopt` makes a run of PyTorch's weights. `folder`, `config`, `log`, `rows` and
`checkpoint` (the one file that knows Orbax) are the files of a run.
"""
