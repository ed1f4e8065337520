"""The gradient through time, measured by each framework's own automatic differentiation; one file a framework.

Each file has ``probe(framework, batch)``, which takes the `frameworks.base.Framework` of the same name and returns a
`frameworks.base.Flow` for one batch on its current weights; the state of the training stays as it is. What the
files share, and why a native layer needs it, stands in `frameworks.flow`.
"""
