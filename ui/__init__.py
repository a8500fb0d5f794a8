"""The page: one FastAPI application with Gradio for controls and chat, and an own channel for everything live.

    app = ui.build_app(services)
    ui.serve(app, host="127.0.0.1", port=7860)

Importing this package is light; gradio is imported when an application is built. Nothing leaves the machine.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.util import find_spec
from socket import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server

    from ui.services import Services

MAX_MESSAGE_BYTES = 4 << 20
"""Of what a page sends over a WebSocket at once: commands, pictures of its webcam."""
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def build_app(services: Services, login: str | None = None, hosts: Collection[str] | None = None) -> FastAPI:
    """The application: page at /, live channel at /live, script at /page. `app.state.sessions` has the visitors.

    login: "user:password" that everybody needs, hosts: names under which it may be called; None = no such rule.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.responses import Response

    from ui.api import Api
    from ui.bringing import bringing
    from ui.guard import Guard
    from ui.handlers import Handlers
    from ui.live import live_endpoint
    from ui.page import build_page
    from ui.parts import STATIC, STYLES, script
    from ui.saving import saving
    from ui.sessions import Sessions
    from ui.takeaway import takeaway
    from ui.theme import build_theme
    from ui.trace import MAX_BYTES

    sessions = Sessions(services)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        sessions.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sessions = sessions
    app.add_middleware(Guard, login=login, hosts=hosts)
    text, address = script()
    app.add_api_route(address, lambda: Response(text, media_type="text/javascript", headers=FOREVER))
    app.add_api_websocket_route("/live", live_endpoint(sessions))
    app.include_router(takeaway(sessions))
    app.include_router(bringing(sessions))
    app.include_router(saving(sessions))
    page = build_page(Handlers(services, sessions), services, Api(services, sessions.turns, sessions.shelf))
    page.queue(default_concurrency_limit=16)
    return gr.mount_gradio_app(app, page, path="/", theme=build_theme(), css_paths=[STATIC / name for name in STYLES],
                               footer_links=[], show_error=False, max_file_size=MAX_BYTES,
                               mcp_server=find_spec("mcp") is not None)


def make_server(app: FastAPI, host: str = "127.0.0.1", port: int = 7860) -> Server:
    """A server that is not running yet. Pictures are already compressed; open pages do not hold up its end."""
    import uvicorn

    class PageServer(uvicorn.Server):
        async def shutdown(self, sockets: list[socket] | None = None) -> None:
            """End open pages after a moment; that they were cut off is no error to report."""
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    return PageServer(uvicorn.Config(app, host=host, port=port, log_level="warning", ws_per_message_deflate=False,
                                     ws_max_size=MAX_MESSAGE_BYTES, timeout_graceful_shutdown=1))


def serve(app: FastAPI, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve until interrupted. The program should end then: what it has in memory is never collected any more."""
    with contextlib.suppress(KeyboardInterrupt):
        make_server(app, host, port).run()
    gc.freeze()  # Python's last look through everything that gradio and torch made takes a second of Ctrl-C
