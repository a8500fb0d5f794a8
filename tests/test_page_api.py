"""The endpoints for programs: through gradio_client, as MCP tools, and the files that a visitor takes away."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator

import anyio
import cv2
import httpx
import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from test_page_browser import Running
from toy_services import MARKUP, SLOW, TREE, ToyModels, said, toy_services

from ui.answer_messages import Marked
from ui.links import Link, read_link, write_link
from ui.looking_through import MOST_SPECS
from ui.services import AskSettings
from ui.subtitles import srt, vtt


@pytest.fixture(scope="module")
def models() -> ToyModels:
    return ToyModels(pace=0.02)


@pytest.fixture(scope="module")
def running(models: ToyModels) -> Iterator[Running]:
    server = Running(toy_services(models=models))
    yield server
    server.end()


@pytest.fixture(scope="module")
def client(running: Running) -> Client:
    return Client(running.address, verbose=False, analytics_enabled=False)


def test_only_ask_and_caption_are_public_and_say_what_they_take(client: Client) -> None:
    described = client.view_api(return_format="dict")["named_endpoints"]
    assert set(described) == {"/ask", "/caption"}
    taken = {parameter["parameter_name"]: parameter["python_type"]["type"]
             for parameter in described["/ask"]["parameters"]}
    assert taken["question"] == "str"
    assert taken["end_s"] == "float"
    assert "Answer a question" in described["/ask"]["description"]


def test_an_answer_grows_and_equals_what_the_models_said(client: Client, models: ToyModels) -> None:
    job = client.submit("square", TREE, 3.5, 1.5, "recall", 0.5, 7, api_name="/ask")
    assert job.result() == said(TREE)
    texts = job.outputs()
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    question, window, settings = models.asked[-1]
    assert (question, window.start_us, window.end_us) == (TREE, 2_000_000, 3_500_000)
    assert (settings.drafter, settings.temperature, settings.seed) == ("recall", 0.5, 7)


def test_model_text_comes_out_as_it_is(client: Client) -> None:
    assert client.predict("square", MARKUP, 2.0, api_name="/ask") == said(MARKUP)


def test_captions_follow_each_other(client: Client) -> None:
    captions = client.predict("square", 1.0, 7.0, 2.0, api_name="/caption")
    assert [(caption["start_s"], caption["end_s"]) for caption in captions] == [(1, 2), (3, 4), (5, 6)]
    assert {caption["text"] for caption in captions} == {said("What is happening?").strip()}


@pytest.mark.parametrize(("arguments", "reason"), [
    (("/etc/passwd", TREE), "no recording"), (("damaged", TREE), "not a recording"),
    (("square", TREE, -3.0), "end_s"), (("square", TREE, 3.0, 99.0), "window_s"),
    (("square", TREE, 3.0, 1.0, "oracle"), "unknown drafter")])
def test_bad_input_is_refused_in_one_sentence(client: Client, arguments: tuple, reason: str) -> None:
    with pytest.raises(AppError, match=f"(?i){reason}") as refused:
        client.predict(*arguments, api_name="/ask")
    assert "Traceback" not in str(refused.value)


def test_a_caller_who_leaves_lets_go_of_the_models(client: Client) -> None:
    job = client.submit("square", SLOW, 2.0, api_name="/ask")
    next(iter(job))
    job.cancel()
    assert client.predict("square", TREE, 2.0, api_name="/ask") == said(TREE)


def test_both_are_tools_for_language_models(running: Running) -> None:
    mcp = pytest.importorskip("mcp")
    from mcp.client.streamable_http import streamablehttp_client

    async def use() -> tuple[dict, str]:
        async with (streamablehttp_client(f"{running.address}/gradio_api/mcp/") as (read, write, _),
                    mcp.ClientSession(read, write) as session):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            result = await session.call_tool("ask", {"recording": "square", "question": TREE, "end_s": 2.0})
            return tools, result.content[0].text

    tools, text = anyio.run(use)
    assert set(tools) == {"ask", "caption"}
    assert "What to ask" in tools["ask"].inputSchema["properties"]["question"]["description"]
    assert said(TREE).strip() in text


# What a visitor takes away


def take(running: Running, what: str, token: str | None = None, **headers: str) -> httpx.Response:
    sent = headers | ({"parafovea-token": token} if token else {})
    return httpx.post(f"{running.address}/take/{what}?who=question", headers=sent, timeout=60)


@pytest.fixture(scope="module")
def token(running: Running) -> str:
    session = running.app.state.sessions.create("visitor")
    assert session.ready.wait(10)
    session.player.pause()
    session.player.seek(3_000_000)
    asking = session.narrator.ask(TREE)
    assert list(asking.follow())[-1] == said(TREE)
    session.publish([Marked(3.0, " A <b>red</b> square --> right.", 2.0), Marked(5.0, " Then left.", 4.0)])
    return session.token


def test_files_need_the_token_and_our_own_page(running: Running, token: str) -> None:
    assert take(running, "trace").status_code == 403
    assert take(running, "trace", "guess").status_code == 403
    assert take(running, "trace", token, origin="http://evil.example").status_code == 403
    assert take(running, "passwd", token).status_code == 404
    assert httpx.get(f"{running.address}/take/trace?token={token}").status_code in (404, 405)


def test_the_trace_has_a_line_per_round(running: Running, token: str) -> None:
    rows = [json.loads(line) for line in take(running, "trace", token).text.splitlines()]
    assert [rows[0]["type"], rows[0]["source"], rows[-1]["text"]] == ["trace", "square", said(TREE)]
    assert {row["type"] for row in rows[1:-1]} == {"cycle"}


def test_the_clip_shows_both_views_and_moves(running: Running, token: str) -> None:
    film = Image.open(io.BytesIO(take(running, "gif", token).content))
    assert film.format == "GIF"
    assert film.n_frames > 12
    first = np.asarray(film.convert("RGB")).astype(int)
    film.seek(film.n_frames - 1)
    last = np.asarray(film.convert("RGB")).astype(int)
    height = first.shape[0]
    assert np.abs(first[:240] - last[:240]).sum() > 0
    assert np.abs(first[260:height - 20] - last[260:height - 20]).sum() > 1000


def test_the_clip_as_film(running: Running, token: str, tmp_path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(take(running, "mp4", token).content)
    film = cv2.VideoCapture(str(path))
    read, picture = film.read()
    assert read
    assert picture.shape[1] > 600
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) / film.get(cv2.CAP_PROP_FPS) > 5


def test_captions_become_subtitles(running: Running, token: str) -> None:
    text = take(running, "srt", token).text
    assert "1\n00:00:02,000 --> 00:00:04,000\nA <b>red</b> square -- > right.\n" in text
    text = take(running, "vtt", token).text
    assert text.startswith("WEBVTT\n\n00:00:02.000 --> 00:00:04.000\nA &lt;b&gt;red&lt;/b&gt; square --&gt; right.\n")
    assert "2\n00:00:04,000 --> 00:00:09,000\n" in srt([Marked(3, "a", 2), Marked(5, " b\n\n c", 4)])
    assert vtt([]) == "WEBVTT\n\n"


OFFERED = {"drafter": ["vlm", "recall"], "rule": ["", "typical"], "pair": ["mini"]}


def test_a_link_reads_back_as_it_was_written(running: Running, token: str) -> None:
    header = {"question": "Why & how? ${x}", "start_s": 1.5, "end_s": 4.0, "drafter": "recall", "temperature": 0.7,
              "seed": 2, "budget": 4, "top_k": 0, "top_p": 1.0, "rule": "typical", "pair": "",
              "filters": ["noise:5", "roi:0,0,9,9"]}
    query = write_link("Bundled story", header)
    assert not re.search(r"[ <>${}\"]", query)
    values = dict(httpx.QueryParams(query[1:]))
    link = read_link(values, OFFERED)
    assert link == Link("Bundled story", 4.0, "Why & how? ${x}", 2.5,
                        AskSettings("recall", 0.7, 2, "typical", 4), filters=("noise:5", "roi:0,0,9,9"))
    assert len(read_link({"filter": "noise " * 500}, OFFERED).filters) == MOST_SPECS
    assert take(running, "link", token).text == write_link("square", {"question": TREE, "start_s": 2.0, "end_s": 3.0})


@pytest.mark.parametrize("query", [
    {"t": "NaN", "temperature": "1e999", "seed": "-4", "budget": "900", "window": "-1", "drafter": "../..",
     "rule": "rm", "pair": "/etc"}, {"t": "", "q": "   "}])
def test_nonsense_in_a_link_is_brought_into_bounds(query: dict[str, str]) -> None:
    link = read_link(query, OFFERED)
    settings = link.settings
    assert (link.t_s, settings.drafter, settings.rule, settings.pair) == (None, "vlm", "", "")
    assert 0 <= settings.temperature <= 1.5
    assert settings.seed == 0
    assert settings.budget in (None, 16)
    assert 0.1 <= link.window_s <= 5
