"""What the estimator learns from real usage, and what it does with usage that cannot be real."""

import math
import threading

import pytest

from ratekeeper._core import Estimator

HELLO = "Say this is a test!"


def test_estimates_follow_what_came_back_for_that_model_and_caller():
    estimator = Estimator()
    for _ in range(10):
        estimator.observe(model="m", caller="summary", counted=1000, input_tokens=1200, output_tokens=50)
    assert estimator.input_tokens(500, model="m", caller="summary") == 600
    assert estimator.input_reservation(500, model="m", caller="summary") == 600, "it never fell short"
    assert estimator.output_tokens(model="m", caller="summary") == 50
    assert estimator.input_tokens(500, model="m", caller="other") == 500
    assert estimator.input_reservation(500, model="m", caller="other") == 575
    assert estimator.output_tokens(model="m", caller="other", max_tokens=300) == 300
    assert estimator.output_tokens(model="m", caller="other") == 1024


def test_status_tells_how_good_the_estimates_are():
    estimator = Estimator()
    for real in (1200, 1200, 1000):
        estimator.observe(model="m", caller="summary", counted=1000, input_tokens=real)
    (status,) = estimator.status()
    assert status["mean_error"] == pytest.approx(0.1)
    assert status["error_p95"] == pytest.approx(0.2)
    assert status["factor"] == pytest.approx(1.1333, abs=0.001)
    assert (status["model"], status["caller"], status["calls"]) == ("m", "summary", 3)
    assert status["margin"] == 0.15
    assert status["output_p95"] is None


def test_nothing_is_learned_from_an_observation_of_nothing():
    estimator = Estimator()
    estimator.observe(model="m", counted=1000)
    assert estimator.status() == []


def test_feedback_beyond_every_machine_word_is_bounded():
    estimator = Estimator()
    for _ in range(20):
        estimator.observe(model="m", counted=1, input_tokens=10**40, output_tokens=10**40)
    assert estimator.input_tokens(100, model="m") == 2000
    assert estimator.output_tokens(model="m") == 1 << 20


@pytest.mark.parametrize("field", ["counted", "input_tokens", "output_tokens"])
@pytest.mark.parametrize(
    ("value", "error"), [(math.nan, TypeError), ("9", TypeError), (True, TypeError), (-1, ValueError)]
)
def test_feedback_that_is_no_count_is_refused(field, value, error):
    estimator = Estimator()
    with pytest.raises(error, match=f"{field}: expected a whole number of tokens from 0, got"):
        estimator.observe(model="m", **{"counted": 5, "input_tokens": 5, "output_tokens": 5, field: value})
    assert estimator.status() == []


def test_the_pairs_remembered_are_bounded():
    estimator = Estimator()
    for caller in range(5000):
        estimator.observe(model="m", caller=str(caller), counted=100, input_tokens=200)
    assert len(estimator.status()) <= 4096
    assert estimator.input_tokens(100, model="m", caller="4999") == 200
    assert estimator.input_tokens(100, model="m", caller="0") == 100


def test_threads_may_count_and_learn_at_once():
    estimator = Estimator()
    counts = []

    def work():
        for _ in range(200):
            counts.append(estimator.count(HELLO))
            estimator.observe(model="m", counted=100, input_tokens=110)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [6] * 800
    assert estimator.status()[0]["calls"] == 800
