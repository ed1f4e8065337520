"""The GPU, asked through each framework; one file a framework, read side by side.

Each file has ``gpu_facts(settings)``, what a record should know of it; ``synchronise()``, which waits until it is
idle; ``Stopwatch``, a context whose ``seconds`` are the GPU's own for what was queued within, or None where the
framework offers no events, and which leaves it idle; ``peak(run)``, the bytes that it held at most while `run` ran,
and ``region`` where that is the peak of the run alone or ``lifetime`` where it is that of the process so far; and
``product`` and ``copy``, which return a function that queues so many matrix products, or passes over an array, and
waits for them.
"""
