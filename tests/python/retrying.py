"""What the tests of retries share: a provider that fails as it is told, and a look at the note it leaves.

Owns no rule of its own: what is right is said in the tests.
"""


class Answer:
    """As much of an HTTP response as an SDK's exception carries."""

    def __init__(self, status, headers):
        self.status_code = status
        self.headers = headers


class ProviderError(Exception):
    """An SDK's exception, by its shape."""

    def __init__(self, status, **headers):
        super().__init__(f"status {status}")
        self.status_code = status
        self.response = Answer(status, {name.replace("_", "-"): value for name, value in headers.items()})
        self.body = {"message": f"status {status}"}


class Provider:
    """Fails with each of the errors in turn, then answers; counts what it is asked."""

    def __init__(self, *errors, times=1):
        self.errors = list(errors) * times
        self.calls = 0

    def __call__(self, answer="answer"):
        self.calls += 1
        if self.calls <= len(self.errors):
            raise self.errors[self.calls - 1]
        return answer


def note_of(error):
    """What a retry wrote into the traceback; "" where the interpreter has no notes (3.10)."""
    return "\n".join(getattr(error, "__notes__", ()))
