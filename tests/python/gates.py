"""What the tests of the gate share: a hook that remembers, and keepers on a manual clock.

Owns no rule: what is right is said in the tests.
"""

import ratekeeper as rk
from ratekeeper.providers import Request

HELLO = Request("m", "x" * 400, max_tokens=50)


class Recorder(rk.Hook):
    """Remembers every event by name."""

    def __init__(self):
        self.events = []

    def waited(self, event):
        self.events.append(("waited", event))

    def started(self, event):
        self.events.append(("started", event))

    def settled(self, event):
        self.events.append(("settled", event))

    def refused(self, event):
        self.events.append(("refused", event))

    def failed(self, event):
        self.events.append(("failed", event))

    @property
    def names(self):
        return [name for name, _ in self.events]

    def last(self, name):
        return [event for kind, event in self.events if kind == name][-1]


def keepers(clock, recorder):
    """Makes keepers that report to the recorder and hold nothing back."""

    def make(quota=None, **settings):
        return rk.Keeper(quota, **{"hooks": recorder, "headroom": 0, "clock": clock, **settings})

    return make


def used(keeper):
    """What has been taken from each dimension, and the calls in flight and waiting."""
    status = keeper.limiter("generic/acct/m").status()
    taken = {limit["dimension"]: limit["limit"] - limit["remaining"] for limit in status["limits"]}
    return {**taken, "in_flight": status["in_flight"], "waiting": status["waiting"]}
