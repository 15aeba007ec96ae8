"""Ceilings on what calls may take: money, tokens, calls and time, held before anything is sent.

`budget` is what users say, `claim` what a call holds, `job` what shares and sums up, `booking` where a call meets all three
and the ledger; `telling` is what is said of a purse, and `clerks` ask for those in a store that is not here. Nothing is
imported here: a keeper without budgets pays for none of it.
"""
