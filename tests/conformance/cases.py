"""The list of cases; modules add to it in the order of the standard.

Invariant: a case has a connection of its own, and says nothing when it passes.
"""

from collections import namedtuple

from peer import Peer

Case = namedtuple("Case", "section title run only origin")
CASES = []


def case(section, title, only=None):
    """Adds a function of a place to the list; `only` is "plain" or "tls" for what one of them has."""

    def add(function):
        CASES.append(Case(section, title, function, only, function.__module__))
        return function

    return add


def on_connection(section, title, only=None, **how):
    """The same for a function of a connection that has been greeted already."""
    def add(function):
        def run(place):
            with Peer(place, **how) as peer:
                function(peer)

        CASES.append(Case(section, title, run, only, function.__module__))
        return function

    return add
