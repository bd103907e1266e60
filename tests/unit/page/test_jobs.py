"""One thread does what needs the model; jobs take turns, and too many are refused."""

import threading

import pytest

from molchord.errors import MolchordError, NotInCase
from molchord.page.jobs import Busy, Jobs


@pytest.fixture
def jobs():
    made = Jobs(most=2)
    yield made
    made.close()


def steps(count, record=None, *, gate=None, result=None, error=None):
    for number in range(count):
        yield f"step {number}"
        if gate is not None:
            gate.wait(10)
        if error is not None:
            raise error
        if record is not None:
            record.append(number)
    return result


def test_a_job_does_its_steps_and_returns(jobs):
    seen = []
    job = jobs.submit("search", steps(3, seen, result="found"), ["s1", "s2", "s3"], total=3)
    assert job.future.result(10) == "found"
    assert seen == [0, 1, 2]
    assert (job.view().state, job.view().done) == ("done", 3)


def test_a_long_job_holds_a_short_one_up_for_a_step_only(jobs):
    order, gate = [], threading.Event()
    long = jobs.submit("search", steps(20, order, gate=gate), total=20)
    short = jobs.submit("why", steps(1, order))
    short.future.add_done_callback(lambda _: order.append("short"))
    gate.set()
    long.future.result(10)
    assert order.index("short") < 5


def test_too_many_are_refused(jobs):
    gate = threading.Event()
    kept = [jobs.submit("search", steps(1, gate=gate))]
    with pytest.raises(Busy, match="the queue is full"):
        kept += [jobs.submit("search", steps(1, gate=gate)) for _ in range(9)]
    gate.set()
    for job in kept:
        job.future.result(10)


def test_a_cancelled_job_stops_before_its_next_step(jobs):
    seen, first, gate = [], threading.Event(), threading.Event()

    def counting():
        for number in range(100):
            yield "counting"
            first.set()
            gate.wait(10)
            seen.append(number)

    job = jobs.submit("search", counting(), total=100)
    first.wait(10)
    jobs.cancel(job.id)
    assert job.view().state == "cancelled"
    gate.set()
    jobs.submit("why", steps(1)).future.result(10)
    assert (len(seen) <= 1, job.future.cancelled()) == (True, True)


def test_what_fails_says_so_and_the_next_job_is_done(jobs):
    sentence = jobs.submit("search", steps(1, error=MolchordError("no candidate passes the filters")))
    with pytest.raises(MolchordError, match="no candidate passes"):
        sentence.future.result(10)
    fault = jobs.submit("search", steps(1, error=ZeroDivisionError("of /home/me")))
    with pytest.raises(MolchordError, match=r"^the search failed \(ZeroDivisionError\)"):
        fault.future.result(10)
    assert (fault.view().state, "/home" in fault.view().error) == ("failed", False)
    assert jobs.submit("search", steps(1, result=1)).future.result(10) == 1


def test_jobs_are_found_by_id_and_by_sample(jobs):
    gate = threading.Event()
    job = jobs.submit("search", steps(2, gate=gate), ["s1", "s2"], total=2)
    assert (jobs.of_sample("s2"), jobs.of_sample("s3"), jobs.current("search")) == (job.id, None, job.id)
    gate.set()
    job.future.result(10)
    assert (jobs.of_sample("s2"), jobs.current("search")) == (None, None)
    with pytest.raises(NotInCase, match="job 'j99' is not known"):
        jobs.find("j99")


def test_what_waits_is_cancelled_when_all_is_closed():
    jobs, gate = Jobs(), threading.Event()
    running = jobs.submit("search", steps(1, gate=gate))
    waiting = jobs.submit("search", steps(1))
    gate.set()
    jobs.close()
    assert running.future.done()
    assert waiting.future.done()
    with pytest.raises(Busy, match="being stopped"):
        jobs.submit("search", steps(1))
