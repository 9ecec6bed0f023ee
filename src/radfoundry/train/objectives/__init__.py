"""What an encoder is asked to do while it learns: one small module per objective.

A builder `build(shapes, *, options …)` gives a module with `needs` (facts a batch must carry) whose call
`module(scene)` gives a dictionary of terms with the one to minimise under `loss`.
"""
