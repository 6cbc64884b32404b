"""The names of the memory cells, apart from their code so that a config can be read without it."""

CELL_NAMES = ("slots", "pref_lstm", "lstm", "prompt", "one_vector")
