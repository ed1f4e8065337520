"""Whether the tests notice a fault: `python -m tests.mutants` plants faults one at a time and runs the tests.

The faults stand in ``faults/*.toml``, written by hand, and more are sampled by the operators of Cosmic Ray.
``relevant.toml`` says which tests a file is held by.
"""
