"""Timing of single training steps, in alternating blocks."""

LAUNCHES = 8
"""How often a live comparison starts both sides. With the fewest that a verdict takes, five, a slowdown of 10 % was
missed in 2 of 10 comparisons, where launches differed by 3 to 5 %. Here, since the command line is to import little."""
