"""The HTML of the page, as a browser is sent it."""

import threading

import pytest


@pytest.mark.parametrize("address", ["/samples/{}", "/table"])
def test_a_job_that_ends_while_a_page_is_made_is_still_followed_by_it(client, sample, desk, monkeypatch, address):
    hold = threading.Event()

    def held():
        hold.wait(60)
        yield "held"

    desk.jobs.submit("why", held())
    job = desk.jobs.find(desk.search([sample]).id)
    samples = desk.samples

    def searching_until_now():
        seen = samples()
        hold.set()
        job.future.result(timeout=60)
        return seen

    monkeypatch.setattr(desk, "samples", searching_until_now)
    assert f'data-job="{job.id}"' in client.get(address.format(sample)).text


def test_none_of_these_stands_behind_a_first_candidate_whose_probability_is_not_stated(
    client, sample, desk, monkeypatch
):
    client.get(f"/api/samples/{sample}/hits")
    answer = desk.answer(sample)  # what is not stated would be above a half
    hits = [hit.model_copy(update={"probability": p}) for hit, p in zip(answer.hits, (None, 0.1, 0.1), strict=True)]
    unsure = answer.model_copy(update={"hits": tuple(hits), "none_of_these": 0.3})
    monkeypatch.setattr(desk, "answer", lambda id: unsure)
    page = client.get(f"/samples/{sample}").text
    assert page.index('data-rank="1"') < page.index("None of these") < page.index('data-rank="2"')
