"""Timing of single training steps, through pytest-benchmark."""
