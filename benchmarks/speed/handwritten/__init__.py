"""The training that ours is timed against: what a good user of each framework writes, with nothing of ours in it.

Each file has a class ``Loop``: one recurrent layer, a linear output on its last state, mean squared error, the
gradient clipped by its global norm, Adam, float32. The ``loop_*`` do as well, by the framework's own functions where
it has them and else by the lines that its documentation or the paper's authors have: every kind of clip (``backprop``
of an lstm), every optimizer, schedules, the penalty ``omega2`` of an rnn, float64. ``prepare`` compiles and warms up by
a first call of ``train``; ``train`` takes batches as NumPy arrays [steps, batch, ...], does one update per batch and
returns the loss of each and the gradient's norms before and after the clip, with the device idle.
Recurrent matrices start orthogonal; every other default is the framework's own, but for the epsilons, which are
PyTorch's. Where a tool keeps no norms, or no loss of each step, of itself, it is not made to: what it then returns is
None, or the mean.

The ``later_*`` do the same for the architectures that came after lstm and gru, by Adam at one learning rate under a
norm clip: ``facts`` has a network's path, heads, length, source and scored steps, where it has them. That of attention
is trained on classes.

A loop runs in the process of its framework, beside ours, and so under the same settings: threads, full float32
products and, on a GPU, algorithms that repeat themselves bit for bit.
"""

LOOPS = {
    "loop_pytorch": "pytorch",
    "loop_tensorflow": "tensorflow",
    "loop_jax": "jax",
    "later_pytorch": "pytorch",
    "later_tensorflow": "tensorflow",
    "later_jax": "jax",
    "fit_keras": "tensorflow",
    "trainer_lightning": "pytorch",
}
"""The files, and the framework in whose process each runs."""

NEEDS = {"trainer_lightning": ("lightning",)}
"""Distributions that a file needs beside those of its framework."""

LATER = ("later_pytorch", "later_tensorflow", "later_jax")
"""The files of the architectures that came after rnn, lstm and gru, which all others are written for."""

TRAINERS = ("fit_keras", "trainer_lightning")
"""The files that hand the loop over to a tool, and are written for float32."""

PLAIN = (*TRAINERS, *LATER)
"""The files that are written for Adam at one learning rate under a norm clip alone."""
