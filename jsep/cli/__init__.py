"""The command line: one file for each command, which turns flags into values and results into lines.

`main` imports a command's file when that command is typed, and nothing else: `jsep --help` loads neither JAX nor Flax.
"""
