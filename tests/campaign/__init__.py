"""Attacks on a run and on what it wrote, many times over: `python -m tests.campaign`."""
