"""What the frameworks' own clip functions do, called as their documentation has it; one file a framework.

Each file has ``CLIPS``, which maps a function's documented name to a callable of a list of gradients
(float32, one a variable) and a threshold, and ``no_gradient``, which clips before any gradient exists
and says in words what happened. `benchmarks.semantics` probes them; nothing is trained with them.
"""
