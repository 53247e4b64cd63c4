"""How good samples of images are: distances between samples and real images in the features of a small classifier.

`classifier` trains and keeps the classifier, `distances` are the figures of two sets of features, `report` puts them
together. This package knows images and labels, not models: samples come in as pixels.
"""
