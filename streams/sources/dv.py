"""Live iniVation cameras (DAVIS, DVXplorer) through dv-processing, in a supervised child process.

    with open_source("dv://") as source:        # the first camera; "dv://00000391" the one with this serial number
        for packet in source: ...               # event packets, Frames, empty packets while nothing happens
    open_source("dv://00000391?exposure_us=5000&frame_rate_hz=30&roi=0,0,173,130")    # streams/camera_options.py

A camera that is unplugged is waited for, and the gap is marked (streams/reconnection.py). A frame comes when its
readout is done, so somewhat later than events of the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.camera_options import options_of, parsed
from streams.isolation import Child, ChildError
from streams.reconnection import GIVE_UP_S, Reconnecting, reconnecting
from streams.supervised import OPEN_S, SupervisedSource
from streams.types import InputError, Losses, SensorSink

SCHEME = "dv://"


def open_source(uri: str, give_up_s: float = GIVE_UP_S, sensors: SensorSink | None = None) -> Reconnecting:
    """Open "dv://" (the first camera) or "dv://SERIAL", with ?NAME=VALUE&... to set it. Raises InputError when there is
    no such camera or it does not take an option.

    give_up_s: how long to wait for a camera that was unplugged, 0 = not at all. sensors: gets IMU and triggers.
    """
    return reconnecting(lambda losses, sink: open_camera(uri, losses=losses, sensors=sink), give_up_s, sensors)


def open_camera(uri: str, child_argv: Sequence[str] | None = None, losses: Losses | None = None,
                sensors: SensorSink | None = None) -> SupervisedSource:
    """The camera until it is unplugged. Raises InputError when there is none or dv-processing is missing."""
    place, _, query = uri.removeprefix(SCHEME).partition("?")
    serial = place.strip("/")
    task = {"task": "camera", "serial": serial, "options": parsed(query)}
    what = f"camera {serial}" if serial else "the camera"
    return SupervisedSource(task, what, losses, child_argv, "plug in an iniVation camera and check its permissions",
                            sensors)


def discover(child_argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The attached cameras: {"uri": "dv://00000391", "model": "DAVIS", "serial": "00000391", "options": [...]} of each.

    Raises InputError when dv-processing is missing.
    """
    try:
        with Child({"task": "discover"}, child_argv) as child:
            cameras = child.expect("cameras", OPEN_S)["cameras"]
    except ChildError as error:
        raise InputError(f"cameras cannot be listed ({error}): unplug them and plug them in again.") from None
    return [{"uri": SCHEME + camera["serial"], **camera, "options": options_of(camera["model"])} for camera in cameras]
