"""Benchmarks: each measures a part of Tidegate beside a peer that does the same, in one process.

`python -m bench` runs all, `python -m bench features write` some. What is worth quoting are the
ratios: figure and peer are measured in turn, several rounds of both, so a slow or busy machine
slows both. Data is simulated from a seed; `--data` names a labelled history instead.
"""
