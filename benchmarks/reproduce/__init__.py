"""`make reproduce`: docs/results.md from training to pictures, by one command that can be stopped and goes on.

plan      which models are trained on which task, of equal size and with equal budgets
measure   the figures of one trained model, kept in its folder
run       all of them on the cores there are, then the timings alone
report    the tables; pictures: grids and curves
"""
