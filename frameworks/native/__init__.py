"""Each framework as its own documentation has it: its initialisation, optimizer, clip and defaults; a file each.

Each file has a class ``Native``, a `frameworks.base.Learner` that takes a seed where the matched class takes
weights, and two literals that are read without importing it: ``NEEDS``, the distributions that must be
installed, and ``ACTIVATIONS``, the activations that the framework's own rnn takes. Nothing here is made
equal across frameworks but the model's shape, the loss and the batches; what a record needs beyond that, the
norms and the share clipped, is measured beside the training and changes none of it.
"""
