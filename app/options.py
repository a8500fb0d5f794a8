"""Options that several commands share: a decorator each, which hands on one object, heavy imports inside.

    @main.command()
    @answer_options
    def ask(options: AnswerOptions) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from app.compose import ModelOptions
    from pipeline.decoding import Limits
    from pipeline.types import Rule

device_option = click.option("--device", default="auto", show_default=True,
                             help="auto (a GPU when there is one), cpu, cuda:N, or spread (over all of them)")
"""Where models run."""


def filter_option(command: Callable[..., None]) -> Callable[..., None]:
    """What is held back from a source, on everything that reads one; given on as filters, checked."""
    @wraps(command)
    def with_filters(filters: tuple[str, ...], **others: Any) -> None:
        from streams.filters import create

        for spec in filters:
            create(spec)
        command(filters=filters, **others)

    return click.option("--filter", "filters", multiple=True, metavar="NAME[:VALUE]",
                        help="hold back or move events, and frames with them; may be given several times, in order: "
                             "noise[:MS], hot[:SECONDS|X,Y;X,Y|FILE], refractory:MS, polarity:on|off, "
                             "roi:X,Y,WIDTH,HEIGHT, flip:horizontal|vertical, rotate:90|180|270, undistort:FILE (a "
                             "calibration of DV)")(with_filters)


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Which models and where, on everything that runs a model; given on as one ModelOptions."""
    @wraps(command)
    def with_models(device: str, model: str, drafter_model: str | None, drafter_device: str | None, precision: str,
                    compiled: bool | None, adapter: str | None, **others: Any) -> None:
        from app.compose import ModelOptions

        command(models=ModelOptions(device, model, drafter_model, precision, drafter_device, compiled, adapter),
                **others)

    for option in (
            click.option("--compile/--no-compile", "compiled", default=None,
                         help="whether passes of few rows on a processor, and what prepares pictures and events, are "
                              "compiled C; default: where a C compiler is found. On a GPU --compile replays passes of "
                              "few rows as CUDA graphs: tested on a processor's tensors, never run on a GPU; default: "
                              "no graphs"),
            click.option("--dtype", "precision", default="auto", show_default=True, metavar="PRECISION",
                         help="auto (bf16 on a GPU, else fp32), fp32, bf16, fp16, 8-bit or 4-bit; for mini fp32, or "
                              "int8 (LOSSY against fp32, and faster only without a C compiler)"),
            click.option("--adapter", default=None, metavar="FOLDER|ID",
                         help="an adapter:L1 trained between the two models, through which cos_sim is measured; "
                              "default: the bundled pair's, none for others"),
            click.option("--drafter-device", default=None, metavar="DEVICE",
                         help="where the event VLM runs; default: beside the RGB VLM"),
            click.option("--drafter-model", default=None, metavar="NAME[:FOLDER]|FOLDER|ID",
                         help="the event VLM that guesses, or none; default: mini's beside mini, else none"),
            click.option("--model", "--verifier", "model", default="mini", show_default=True,
                         metavar="NAME[:FOLDER]|FOLDER|ID",
                         help="the RGB VLM that checks; none = the event VLM answers by itself, from events alone"),
            device_option):
        with_models = option(with_models)
    return with_models


def rule_options(command: Callable[..., None]) -> Callable[..., None]:
    """How answers are written; given on as one Rule and one Limits."""
    @wraps(command)
    def with_rule(rule: str, temperature: float, top_k: int, top_p: float, seed: int, budget: int | None,
                  **others: Any) -> None:
        from pipeline.acceptance import rule_for
        from pipeline.decoding import Limits

        command(rule=rule_for(rule, temperature, seed, top_k, top_p), limits=Limits(budget=budget), **others)

    for option in (
            click.option("--budget", type=click.IntRange(0, 16), default=None, metavar="NODES",
                         help="guesses to draft per check; default: as many as pay, by measured cost and acceptance"),
            click.option("--seed", default=0, show_default=True, help="of sampling; same seed, same text"),
            click.option("--top-p", default=1.0, show_default=True, help="draw from the likeliest that make up this"),
            click.option("--top-k", default=0, show_default=True, help="draw from so many likeliest; 0 = from all"),
            click.option("--temperature", default=0.0, show_default=True, help="0 = greedy, otherwise seeded sampling"),
            click.option("--rule", default="", metavar="NAME[:VALUE]",
                         help="which guesses pass: greedy, sampling (both lossless; the default is by temperature), or "
                              "typical[:EPSILON], cosine[:THRESHOLD], which are LOSSY")):
        with_rule = option(with_rule)
    return with_rule


def answer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of everything that answers; given on as one AnswerOptions."""
    @wraps(command)
    def with_options(drafter: str | None, rule: Rule, limits: Limits, as_json: bool, models: ModelOptions,
                     filters: tuple[str, ...], **others: Any) -> None:
        from app.answering import AnswerOptions

        command(**others, options=AnswerOptions(drafter, rule, limits, as_json, models, filters))

    with_options = rule_options(with_options)
    for option in (
            click.option("--json", "as_json", is_flag=True, help="one JSON line per cycle and per caption on stdout"),
            click.option("--drafter", default=None, metavar="NAME[:VARIANT]",
                         help="who guesses; README.md has the list, a wrong name prints it; default: vlm, without an "
                              "event VLM recall")):
        with_options = option(with_options)
    return model_options(filter_option(with_options))


def bench_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of everything that measures drafters; given on as one BenchOptions."""
    @wraps(command)
    def with_options(clips: int, drafters: str | None, rule: Rule, limits: Limits, out: Path | None, as_json: bool,
                     models: ModelOptions, checkpoints: Path | None = None, peers: bool = False,
                     profile: bool = False, ingest: bool = False, replay: str | None = None,
                     stride_s: float = 1.0, listening: bool = False) -> None:
        from app.benching import BenchOptions

        asked = drafters or ("vlm" if peers or profile or listening else "vlm,recall,mix" if replay else "all")
        command(BenchOptions(clips, asked, rule, limits, out, as_json, checkpoints, peers, profile, ingest, replay,
                             stride_s, listening), models)

    with_options = rule_options(with_options)
    for option in (
            click.option("--json", "as_json", is_flag=True, help="one JSON line on stdout"),
            click.option("--out", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
                         help="write a report with a picture here"),
            click.option("--drafters", default=None, metavar="NAME[:VARIANT],...",
                         help="or all: every drafter in all its variants; default: all, with --peers, --profile or "
                          "--listening vlm, with --replay vlm,recall,mix"),
            click.option("--clips", default=20, show_default=True, help="unseen scenes to describe")):
        with_options = option(with_options)
    return model_options(with_options)


class Offset(click.ParamType):
    """Milliseconds, or the word auto."""

    name = "MS|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number or the word, or a usage error."""
        try:
            return value if value == "auto" else float(value)
        except ValueError:
            self.fail(f"{value!r} is no time; give milliseconds, 0 or less or more, or auto", param, ctx)


def frames_option(source: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds --frames and --frames-offset-ms to a command; its parameter `source` becomes the URI of the pair."""
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_frames(frames: str | None, offset_ms: Any, **others: Any) -> None:
            from streams.sources.pair import pair_uri
            from streams.types import InputError

            if frames is not None:
                if others[source] is None:
                    raise InputError("--frames belongs to an event camera; name it with --source")
                others[source] = pair_uri(others[source], frames, offset_ms)
            elif offset_ms is not None:
                raise InputError("--frames-offset-ms moves the frames of --frames; name them too")
            command(**others)

        for option in (
                click.option("--frames-offset-ms", "offset_ms", type=Offset(), default=None, metavar="MS|auto",
                             help="later by so much than their own clock says; auto: as estimated, the default for "
                                  "recordings, once when it is sure for live sources"),
                click.option("--frames", default=None, metavar="SOURCE",
                             help="take the frames from this second source: camera, video, folder, recording")):
            with_frames = option(with_frames)
        return with_frames

    return decorate


COMPRESSIONS = click.Choice(["none", "lz4", "zstd"])


class Seconds(click.ParamType):
    """A part of a recording, "2..5", "2.." or "..5", as (start, end) in seconds, None = where it begins or ends."""

    name = "A..B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The two numbers, or a usage error."""
        if isinstance(value, tuple):
            return value
        edges = str(value).split("..")
        try:
            if len(edges) != 2:
                raise ValueError(value)
            start_s, end_s = (float(edge) if edge.strip() else None for edge in edges)
        except ValueError:
            self.fail(f"{value!r} is no part of a recording; give seconds such as 2..5, 2.. or ..5", param, ctx)
        if any(edge is not None and not 0 <= edge < 1e9 for edge in (start_s, end_s)):
            self.fail(f"{value!r} must count seconds from the recording's start, 0 or more", param, ctx)
        return start_s, end_s


range_option = click.option("--range", "part", type=Seconds(), default="..", metavar="A..B",
                            help="only this part, in seconds from the start: 2..5, 2.. or ..5; default: everything")
overwrite_option = click.option("--overwrite", is_flag=True, help="replace OUT when it is there already")
