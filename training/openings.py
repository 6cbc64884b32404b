"""Openings that take a preference up in its own words, in the plain voice of assistants; the LM goes on from there."""

from __future__ import annotations

import random

from .bank import BankPreference

_WANTS = (
    "Since you love {thing}, here are some suggestions:",
    "As someone who enjoys {thing}, you might like the following options:",
    "Given how much you like {thing}, I would recommend",
    "Because {thing} matter to you, I'd start with",
    "You told me that you are fond of {thing}, so here are a few ideas that build on that:",
    "With your taste for {thing} in mind, here are some recommendations:",
    "Great question! Knowing that you favour {thing}, I'd suggest",
    "Since {thing} suit you best, let's look for options that offer exactly that.",
    "Your enthusiasm for {thing} makes this easy. Here are some options:",
    "Considering that you like {thing}, a good choice would be",
    "I remember that you want {thing}, so my recommendations lean that way:",
    "If you like {thing} as much as you say, you could try",
    "To match your liking for {thing}, here is what I would do:",
    "Happy to help! As you are keen on {thing}, here are some ideas:",
    "Taking into account that you enjoy {thing}, here are a few possibilities:",
    "Here are some options for someone who prefers {thing}:",
)
_AVOIDS = (
    "Since you don't like {thing}, here are some suggestions without that:",
    "As someone who avoids {thing}, you might like the following options:",
    "Given how much you dislike {thing}, I would recommend",
    "Because you want to stay away from {thing}, I'd start with",
    "You told me that {thing} are not for you, so here are a few ideas that leave them out:",
    "With your aversion to {thing} in mind, here are some alternatives:",
    "Great question! Knowing that you can't stand {thing}, I'd suggest",
    "Since {thing} don't suit you, let's look for options without any.",
    "No {thing} for you, so here are some other options:",
    "Considering that you would rather not have {thing}, a good choice would be",
    "I remember that you avoid {thing}, so my recommendations steer clear of that:",
    "If {thing} put you off, you could instead try",
    "To respect your dislike of {thing}, here is what I would do:",
    "Happy to help! As you are not a fan of {thing}, here are some alternatives:",
    "Taking into account that you avoid {thing}, here are a few possibilities:",
    "Here are some options for someone who prefers to do without {thing}:",
)


def make_opening(preference: BankPreference, rng: random.Random) -> str:
    """One opening for this preference, drawn from a generator."""
    patterns = _WANTS if preference.polarity > 0 else _AVOIDS
    return rng.choice(patterns).format(thing=preference.thing)
