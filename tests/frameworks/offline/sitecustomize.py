"""Imported by every Python that a test starts: a child stays on the machine as its parent does."""

import guard

guard.install()
