"""How cases are run: the sweep, one case, its worker, the gradient probe, progress and environment."""
