"""Reads that failed are asked again, writes never, and the session is as before after the block."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from huggingface_hub.utils import httpx

from hf_finetune import patient_reads


class Session:
    """Answers with what is left in a list: a status, or an exception."""

    def __init__(self, *answers):
        self.answers, self.num_sent = list(answers), 0

    def send(self, request, **how):
        self.num_sent += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(status_code=answer, close=lambda: None)


@pytest.fixture
def ask(monkeypatch):
    pauses = []
    monkeypatch.setattr(patient_reads.time, "sleep", pauses.append)

    def ask(*answers, method="GET", times=1):
        session = Session(*answers)
        monkeypatch.setattr("huggingface_hub.get_session", lambda: session)
        pauses.clear()
        with patient_reads.patient_reads(), patient_reads.patient_reads():
            for _ in range(times):
                last = session.send(SimpleNamespace(method=method, url=httpx.URL("http://hub/a")))
        assert "send" not in vars(session)
        return last.status_code, session.num_sent, list(pauses)

    return ask


def test_what_passes_is_asked_again(ask):
    assert ask(200) == (200, 1, [])
    assert ask(503, 502, 200) == (200, 3, [1.0, 2.0])
    assert ask(httpx.ReadError(""), httpx.RemoteProtocolError(""), 200, method="HEAD") == (200, 3, [1.0, 2.0])


@pytest.mark.parametrize("status", [401, 403, 404, 408, 416, 429])
def test_what_does_not_pass_or_the_client_asks_again_itself_is_not(ask, status):
    assert ask(status) == (status, 1, [])


def test_what_lasts_is_given_up_once_for_all(ask):
    """The client's own retries come on top: together they must not wait for minutes."""
    assert ask(*[503] * 9, times=6) == (503, 9, [1.0, 2.0, 4.0])
    assert ask(*[503] * 4, 200, 503, 200, times=3) == (200, 7, [1.0, 2.0, 4.0, 1.0])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_writes_are_never_repeated(ask, method):
    assert ask(503, method=method) == (503, 1, [])


def test_a_network_that_is_not_there_is_not_waited_for(ask):
    with pytest.raises(httpx.ConnectError):
        ask(httpx.ConnectError(""))
