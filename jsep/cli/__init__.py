"""The command line: a file for each command, which turns flags into values and prints the results.

`main` imports the file of a command only when that command is typed: `jsep --help` loads neither JAX nor Flax.
"""
