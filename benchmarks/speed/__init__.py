"""Speed of generation, side by side: a VSSM, a Transformer and a Mamba of one size, beside the machine's limits.

    timing       turns and medians          passes       whole sequences
    limits       matrix product, copy       sessions     first chunk, prefix, resume, bytes kept
    counts       operations and bytes       memory       peak of one call, in a process of its own
    contenders   the models, one interface  recurrence   the kernel beside a copy
    targets      what must hold             report, plot tables, JSON, PNG

Run by `python -m benchmarks.speed`. Knows nothing of servers or of how good what is generated is.
"""
