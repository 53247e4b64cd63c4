"""The parts of a training: the step, its state on disk, its records, its folder and its display."""
