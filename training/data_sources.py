"""What the package's models learn from, with licences, for their cards."""

from __future__ import annotations

from pref_lstm.hub_cards import DataSource

BANK = DataSource(
    "the package's bank",
    "hand-written preferences, questions and answers, and turns that repeat or reverse one; further answers are the "
    "base model's own",
    "apache-2.0",
)
SYNTHETIC = DataSource("the package's turn grammar", "synthetic turns with and without a preference", "apache-2.0")
OASST1 = DataSource(
    "OASST1", "real messages, taken to reveal no preference that matters", "apache-2.0", "OpenAssistant/oasst1"
)
ALPSBENCH = DataSource("AlpsBench", "messages of real chats (WildChat) with annotated preferences", "odc-by")
