"""The figures ratekeeper promises, measured side by side with what people use today: `python -m tests.bench`.

Owns the measuring. Absolute times say more about a machine than about a library, so every promise is a ratio, a share
or a bound wide enough for a busy two-core machine; what is printed beside them is for orientation.
"""
