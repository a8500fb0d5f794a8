"""Command line of Parafovea: one function per command, heavy imports inside.

    parafovea ask recording.aedat4 "What is happening?" --at 5

Exit codes: 0 done, 2 bad input or usage (one sentence on stderr), 1 a defect of ours.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options import (
    COMPRESSIONS,
    answer_options,
    bench_options,
    filter_option,
    frames_option,
    model_options,
    overwrite_option,
    range_option,
)

if TYPE_CHECKING:
    from app.answering import AnswerOptions
    from app.benching import BenchOptions
    from app.compose import ModelOptions


class Commands(click.Group):
    """Turns refused input into one sentence and exit code 2, anything unforeseen into exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from streams.types import InputError

        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"parafovea: {error}", err=True)
            sys.exit(2)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # the reader of our output went away (`| head`): not an error, and nothing more can be printed
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            if os.environ.get("PARAFOVEA_DEBUG"):
                raise
            click.echo(f"parafovea: this is a defect of ours: {type(error).__name__}: {error} "
                       "(set PARAFOVEA_DEBUG=1 for details)", err=True)
            sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="parafovea")
def main() -> None:
    """Talk to an event camera: the event model guesses the next words, the RGB model checks them."""


@main.command()
@click.option("--source", default=None, metavar="URI",
              help="recording, video, synthetic://SEED, dv://[SERIAL], tcp://HOST:PORT, webcam://N, "
                   "rtsp://HOST/PATH; default: the bundled recording")
@frames_option("source")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=7860, show_default=True)
@click.option("--auth", "login", default=None, metavar="USER:PASSWORD", envvar="PARAFOVEA_AUTH",
              help="ask everybody for this name and password; the variable PARAFOVEA_AUTH hides it from lists of "
                   "processes")
@click.option("--no-browser", is_flag=True, help="do not open a browser")
@click.option("--recordings", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
              help="record live sources of the page into this folder, and offer the AEDAT4 files in it; default: what "
                   "is recorded is sent to the browser")
@filter_option
@model_options
def demo(source: str | None, host: str, port: int, login: str | None, no_browser: bool, recordings: Path | None,
         models: ModelOptions, filters: tuple[str, ...]) -> None:
    """Open the web page on a recording or a camera. --filter is for --source and everybody; on the page
    everybody chooses filters for himself, but those that take a file."""
    from app.demo import run

    run(source, host, port, not no_browser, models, login, filters, recordings)


@main.command()
@click.argument("recording")
@click.argument("question", required=False)
@frames_option("recording")
@click.option("--at", "at_s", type=float, default=None, metavar="SECONDS",
              help="ask about the second before this time; default: the end of the recording")
@answer_options
def ask(recording: str, question: str | None, at_s: float | None, options: AnswerOptions) -> None:
    """Answer a QUESTION about a RECORDING; without a question, ask at a prompt."""
    from app.answering import ask

    ask(recording, question, at_s, options)


@main.command()
@click.argument("recording")
@frames_option("recording")
@click.option("--start", "start_s", type=float, default=0.0, show_default=True, metavar="SECONDS",
              help="seek here first")
@click.option("--stride", "stride_s", type=float, default=1.0, show_default=True, metavar="SECONDS",
              help="time between the starts of successive windows")
@click.option("--speed", type=float, default=None, help="pace by the recording's clock; default: as fast as possible")
@click.option("--question", default="What is happening?", show_default=True)
@answer_options
def replay(recording: str, start_s: float, stride_s: float, speed: float | None, question: str,
           options: AnswerOptions) -> None:
    """Caption a RECORDING window after window."""
    from app.answering import replay

    replay(recording, start_s, stride_s, speed, question, options)


@main.command()
@click.argument("recording")
@frames_option("recording")
@click.option("--json", "as_json", is_flag=True, help="one JSON line on stdout")
@click.option("--deep", is_flag=True, help="also rates, silences, hot pixels, polarity, times of frames")
@filter_option
def info(recording: str, as_json: bool, deep: bool, filters: tuple[str, ...]) -> None:
    """Say what is inside a RECORDING."""
    from app.recordings import info

    info(recording, as_json, filters, deep)


@main.command()
@click.option("--seconds", type=click.FloatRange(0), default=10.0, show_default=True, help="length of the self-test")
@click.option("--json", "as_json", is_flag=True, help="one JSON line on stdout")
@model_options
def doctor(seconds: float, as_json: bool, models: ModelOptions) -> None:
    """Say what is installed and attached, whether the models load, and what to do about each problem."""
    from app.doctor import doctor

    if not doctor(seconds, as_json, models):
        sys.exit(2)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON line per camera on stdout")
def cameras(as_json: bool) -> None:
    """List the event cameras that are attached."""
    from app.livestreams import cameras

    cameras(as_json)


@main.command()
@click.argument("recording", metavar="IN")
@click.argument("out", type=click.Path(path_type=Path))
@range_option
@click.option("--format", "name", default=None, metavar="NAME",
              help="where a suffix has several: of .raw evt3 (default) or evt2; of .npy npy (default, a structured "
                   "array) or eventgpt (its dictionary)")
@click.option("--compression", type=COMPRESSIONS, default=None,
              help="of .aedat4 (default lz4) and .h5 (default zstd); zstd is smaller, slower")
@overwrite_option
@filter_option
def convert(recording: str, out: Path, part: tuple[float | None, float | None], name: str | None,
            compression: str | None, overwrite: bool, filters: tuple[str, ...]) -> None:
    """Write a recording IN, or a part of it, in another format, which the suffix of OUT chooses.

    .aedat4 holds events, frames and where both come from. Events only: .raw and .dat (Prophesee), .h5 (as DSEC),
    .csv, .npy, .es. Events are exactly those that were read; what OUT has no place for is said.
    """
    from app.converting import convert

    convert(recording, out, part, name, compression, overwrite, filters)


@main.command()
@click.argument("source")
@frames_option("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seconds", type=float, default=None, help="of the source's own time; default: until it ends or Ctrl-C")
@click.option("--compression", type=COMPRESSIONS, default="lz4", show_default=True, help="zstd is smaller, slower")
@filter_option
def record(source: str, out: Path, seconds: float | None, compression: str, filters: tuple[str, ...]) -> None:
    """Record a SOURCE (camera, network, synthetic, file) to OUT.aedat4."""
    from app.livestreams import record

    record(source, out, seconds, compression, filters)


@main.command()
@click.argument("recording", metavar="IN")
@click.argument("out", type=click.Path(path_type=Path))
@range_option
@click.option("--view", type=click.Choice(["events", "rgb", "both"]), default=None,
              help="default: both where there are frames; rgb and both reconstruct frames where there are none")
@click.option("--fps", default=30.0, show_default=True, help="pictures per second of the film")
@click.option("--speed", default=1.0, show_default=True, help="0.1 = slow motion, ten times as long")
@click.option("--style", type=click.Choice(["events", "histogram", "decay", "surface", "points"]), default="events",
              show_default=True, help="how events are drawn, as on the page")
@click.option("--palette", type=click.Choice(["dark", "light", "orange-blue", "grey"]), default="dark",
              show_default=True)
@click.option("--accumulation-ms", type=click.IntRange(1, 10_000), default=33, show_default=True,
              help="how long an event is seen")
@overwrite_option
@filter_option
def export(recording: str, out: Path, part: tuple[float | None, float | None], view: str | None, fps: float,
           speed: float, style: str, palette: str, accumulation_ms: int, overwrite: bool,
           filters: tuple[str, ...]) -> None:
    """Draw a recording IN, or a part of it, into OUT: .mp4 (H.264), .webm (VP9), .gif, or a folder of PNG.

    The folder gets timestamps.txt (µs) and can be opened as a recording itself.
    """
    from app.exporting import export
    from ui.filming import Look

    export(recording, out, part, Look(view or "", style, palette, accumulation_ms), fps, speed, overwrite, filters)


@main.command()
@click.argument("source")
@frames_option("source")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 = everybody who can reach this machine")
@click.option("--port", type=click.IntRange(0, 65532), default=7777, show_default=True, help="of the events")
@click.option("--frames-port", type=click.IntRange(0, 65535), default=None, help="of the frames; default: --port + 1")
@click.option("--imu-port", type=click.IntRange(0, 65535), default=None, help="of the IMU; default: --port + 2")
@click.option("--triggers-port", type=click.IntRange(0, 65535), default=None,
              help="of the triggers; default: --port + 3")
@click.option("--socket", "sockets", type=click.Path(path_type=Path), multiple=True, metavar="PATH",
              help="UNIX sockets instead: of the events, frames, IMU and triggers, in this order")
@click.option("--speed", default=1.0, show_default=True, help="of a recording, by its own clock")
@click.option("--loop", is_flag=True, help="begin a recording again at its end")
@click.option("--compression", type=COMPRESSIONS, default="lz4", show_default=True)
@filter_option
def serve(source: str, host: str, port: int, frames_port: int | None, imu_port: int | None,
          triggers_port: int | None, sockets: tuple[Path, ...], speed: float, loop: bool, compression: str,
          filters: tuple[str, ...]) -> None:
    """Publish a SOURCE on the network, for tcp://HOST:PORT on another machine, dv-processing and DV.

    Events, frames, IMU samples and triggers, each at a port or socket of its own where the source has them.
    """
    from app.livestreams import serve

    serve(source, host, (port, frames_port, imu_port, triggers_port), sockets, speed, loop, compression, filters)


@main.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--threshold", default=0.2, show_default=True, help="log intensity change per event")
@click.option("--seed", default=0, show_default=True, help="of the simulated sensor's mismatch and noise")
def simulate(video: Path, out: Path, threshold: float, seed: int) -> None:
    """Simulate the events of a VIDEO and write them with its frames to OUT.aedat4."""
    from app.recordings import simulate

    simulate(video, out, threshold, seed)


@main.command()
@click.argument("what", metavar="{mini|all|eagle|eagle:hass|eagle3|medusa|medusa:joint|specvlm|recall|adapter:LEVEL}")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/mini"), show_default=True,
              help="folder for checkpoints, curves and what is trained; an interrupted training goes on there")
@click.option("--smoke", is_flag=True, help="a minute-long run that only shows that everything works")
@click.option("--jobs", default=2, show_default=True, help="mini: 2 = train both sides at the same time")
@click.option("--target", default=None, metavar="mini[:FOLDER]",
              help="drafters: the pair whose verifier they guess for; the same as --model and --drafter-model")
@click.option("--data", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
              help="drafters: learn from what `extract` left here, not from rendered scenes")
@click.option("--scenes", default=1000, show_default=True, help="drafters: scenes the verifier speaks about first")
@click.option("--steps", default=2000, show_default=True, help="drafters: steps of training")
@click.option("--stages/--no-stages", default=True, show_default=True,
              help="drafters: keep what they are after 0, 1/8, 1/4, 1/2 and all steps, for bench --checkpoints")
@model_options
def train(what: str, out: Path, smoke: bool, jobs: int, target: str | None, data: Path | None, scenes: int, steps: int,
          stages: bool, models: ModelOptions) -> None:
    """Train the bundled pair from nothing, on scenes that are rendered on the way, or a drafter for a pair, or all."""
    from dataclasses import replace

    from app import training

    if what == "mini":
        training.train_mini(out, smoke, jobs, models.device)
        return
    if target is not None:
        models = replace(models, model=target, drafter_model=target)
    scenes, steps = (20, 20) if smoke else (scenes, steps)
    training.train_drafters(what, training.DrafterOptions(out, models, steps, stages, scenes, data))


@main.command()
@click.argument("recordings", nargs=-1, required=True, metavar="RECORDING...")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/data"), show_default=True,
              help="folder for the answers; an interrupted extraction goes on there")
@click.option("--question", "questions", multiple=True,
              help="asked about every window; may be given several times; default: a detailed, a brief and a short one")
@click.option("--stride", "stride_s", type=float, default=1.0, show_default=True, metavar="SECONDS",
              help="time between the starts of successive windows")
@click.option("--rows/--no-rows", default=True, show_default=True,
              help="keep what stands in front of the text too: adapter:L6 and specvlm need it; much for large models")
@click.option("--json", "as_json", is_flag=True, help="one JSON line on stdout")
@filter_option
@model_options
def extract(recordings: tuple[str, ...], out: Path, questions: tuple[str, ...], stride_s: float, rows: bool,
            as_json: bool, models: ModelOptions, filters: tuple[str, ...]) -> None:
    """Let the models speak about RECORDINGS and keep what drafters learn from, for train --data."""
    from app.extracting import extract

    extract(recordings, out, questions, stride_s, rows, as_json, models, filters)


@main.command("eval")
@click.argument("what", type=click.Choice(["mini"]))
@click.option("--scenes", default=500, show_default=True)
@click.option("--seed", default=0, show_default=True, help="first scene; training draws only seeds from 1000000 on")
@click.option("--json", "as_json", is_flag=True, help="one JSON line on stdout")
@model_options
def evaluate(what: str, scenes: int, seed: int, as_json: bool, models: ModelOptions) -> None:
    """Measure the bundled pair on scenes that training never draws."""
    from app.measuring import eval_mini

    eval_mini(scenes, seed, as_json, models)


@main.command()
@click.option("--checkpoints", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
              help="compare the stages of drafters' trainings, by default with 6 guesses per check: the folder that "
                   "train was given as --out, or one with a checkpoint folder per stage")
@click.option("--peers", is_flag=True,
              help="compare with transformers on the same weights: generate, prompt lookup, assisted generation")
@click.option("--profile", is_flag=True,
              help="where the time of a detailed answer goes, and what this machine would allow a verify pass")
@click.option("--listening", is_flag=True,
              help="what the records of an answer, a page that listens and a recording read meanwhile cost it, in "
                   "processor time")
@click.option("--ingest", is_flag=True,
              help="no models: how fast events are read, drawn and live, beside dv-processing, aedat and faery")
@click.option("--replay", is_flag=False, flag_value="scenes", default=None, metavar="[SOURCE]",
              help="caption --clips windows one after another, the next one being looked at meanwhile: of a recording, "
                   "or of the bundled story and unseen scenes")
@click.option("--stride", "stride_s", type=float, default=1.0, show_default=True, metavar="SECONDS",
              help="--replay: time between the starts of successive windows, which are 1 s long")
@bench_options
def bench(options: BenchOptions, models: ModelOptions) -> None:
    """Compare drafters with plain decoding: identity, acceptance, wall-clock."""
    from app import benching, ingesting, listening, peering, profiling, replaying

    benching.one_comparison(options)
    if options.ingest:
        ingesting.bench_ingest(options)
        return
    run = (peering.bench_peers if options.peers else profiling.profile if options.profile
           else replaying.bench_replay if options.replay
           else listening.bench_listening if options.listening else benching.bench)
    run(options, models)


@main.command()
@bench_options
def calibrate(options: BenchOptions, models: ModelOptions) -> None:
    """Relate the cosine of hidden states to acceptance, and compare with what was claimed."""
    from app.calibrating import calibrate

    calibrate(options, models)
