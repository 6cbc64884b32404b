"""Training data, training and evaluation of memory and classifier."""
