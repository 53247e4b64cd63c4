"""`make reproduce`: the table of docs/results.md, from training to pictures, by one command that can be stopped and goes on.

plan      which models are trained on which task, of equal size and with equal budgets
stages    train one model; measure one model: pure functions of a recipe, kept in files
report    the table, sample grids and curves
"""
