"""Model cards for adapters and classifiers."""
