"""The figures of a report: which there are, and what each says."""

from __future__ import annotations

NO_TIMINGS = "Step times inside the training runs (no timings): median and range over cases, not a comparison"
TIMINGS = "Step times in alternating blocks: median with its 95 % interval within the launch"

CAPTIONS = {
    "atlas": (
        "Clip atlas",
        (
            "Cell by threshold. Colour and first line: how many of the seeds solved the task, in every framework that "
            "ran it; second line: share of the steps clipped."
        ),
    ),
    "success-length": (
        "Success against length",
        (
            "Share of the seeds that solved the task, with its 95 % interval (Clopper and Pearson) from five seeds on: "
            "colour is the cell, line and mark the way to draw the first weights, each at one recipe over all lengths. "
            "Of several recipes the best is drawn, without an interval."
        ),
    ),
    "clip-rate": (
        "Clip by learning rate",
        (
            "Colour and number: how many of the seeds solved the task, in every framework that ran it. A cross: some "
            "seed diverged."
        ),
    ),
    "profile": (
        "Performance profiles of tuned cells",
        (
            "Share of the tasks that a cell's recipe, chosen on one half of a study's seeds, solves on the other "
            "within so many times the fewest steps of any cell: mean over studies, and the 95 % interval of the median."
        ),
    ),
    "ratios": (
        "How many times as fast",
        "Median ratio of the times of a training step, with its 95 % interval: right of 1 the first named is faster.",
    ),
    "reach-length": (
        "Reach against length",
        (
            "Share of the steps before the scored ones over which the gradient keeps 1 % of its norm at the end of "
            "training, mean over seeds with their range, without a clip where that ran."
        ),
    ),
    "skill": (
        "Skill by cell and threshold",
        (
            "Skill at the end of training: 0 is the floor, 1 is perfect. Small points are seeds, an open mark is "
            "their mean with its standard error, a cross at the bottom is a run that diverged; skill below -0.3 is "
            "drawn there."
        ),
    ),
    "learning": (
        "Learning curves",
        (
            "Loss on the evaluation set over training, mean over seeds, with the task's floor. The first framework's "
            "lines are the widest, so that lines that coincide all show."
        ),
    ),
    "training-loss": (
        "Training loss of your own runs",
        "Loss of each training batch before its update: the median over each stretch of steps and over runs.",
    ),
    "gradient-norm": (
        "Gradient norm before the clip",
        (
            "Global gradient norm before the clip: the median over each stretch of steps and over seeds. Horizontal "
            "lines are the thresholds of clip norm, in the line style of the runs that they clip."
        ),
    ),
    "norm-direction": (
        "Updates in parts: norm and direction",
        (
            "Each case whose batches are divided, under clip norm: median over its steps of the norm after the clip, "
            "over the threshold, against the median cosine of the angle to the gradient. Clipped after the reduction, "
            "the norm is at most the threshold and the direction that of the gradient."
        ),
    ),
    "clip-fraction": ("Clip fraction", "Share of the training steps on which the clip changed the gradient."),
    "gradient-flow": (
        "The gradient through time",
        (
            "Norm of the gradient of the loss with respect to the first layer's state at each step, relative to the "
            "first scored step, on a fixed batch: geometric mean over seeds, with their range. Without clipping where "
            "that was run; the first framework's."
        ),
    ),
    "gradient-input": (
        "The gradient that reaches the input",
        (
            "The same of the gradient with respect to the model's input at each step, which every architecture has: "
            "solid at the end of training, dotted before it."
        ),
    ),
    "gradient-heat": (
        "The gradient through time, over training",
        "The same norm, not relative, over training (across) and time (up); scored steps lie above the white line.",
    ),
    "matched-native": (
        "Matched and native",
        (
            "Skill at the end of training, mean over seeds: an open mark in mode matched, a filled one with the "
            "framework's own defaults, joined by a line. A mode in which every seed diverged has no mark; skill below "
            "-0.3 is drawn there."
        ),
    ),
    "step-time": ("Step time", ""),
}

OPTIONAL = {
    "atlas",
    "success-length",
    "clip-rate",
    "profile",
    "ratios",
    "reach-length",
    "training-loss",
    "norm-direction",
    "matched-native",
}
"""Figures that are passed over in silence where there is nothing to draw: not every set has such runs."""
