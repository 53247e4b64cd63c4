"""The networks of a model as compiled loops for the CPU: float32, no gradients, every row with bits of its own.

`tile` multiplies, `kernels` are the layers, `networks` runs a whole model through them.
"""
