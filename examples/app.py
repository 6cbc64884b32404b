"""
Chat with and without memory side by side, look into the memory, and forget: `pref-lstm app`, as a Space runs it.

    pip install 'pref-lstm[app]'
    python examples/app.py                                      # users of this visit, forgotten when its page closes
    python examples/app.py --store ~/.local/share/pref_lstm     # the users of `pref-lstm chat`, kept
"""

from pref_lstm.app import main

if __name__ == "__main__":
    main()
