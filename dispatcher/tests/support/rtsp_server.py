#!/usr/bin/python3
"""A real RTSP server for tests: GStreamer's, from Debian, with a live test pattern or looping footage.

Prints `ready PORT` once it listens. Ends at end of standard input, so that it never outlives its test.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtspServer  # noqa: E402

ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max={gop} ! h264parse config-interval=-1 ! rtph264pay",
    "h264-b": "x264enc bframes=3 speed-preset=ultrafast key-int-max={gop} ! h264parse config-interval=-1 ! rtph264pay",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={gop} ! h265parse config-interval=-1 ! rtph265pay",
    "mjpeg": "jpegenc ! rtpjpegpay",
}


def launch(options):
    if options.stream:
        # As it is: parameter sets only where it has them.
        return (
            f'( filesrc location="{options.stream}" ! tsdemux ! h264parse config-interval=0 '
            "! rtph264pay config-interval=0 name=pay0 pt=96 )"
        )
    if options.file:
        # Re-timed so that it plays at its own speed and from the start for each client.
        source = f'filesrc location="{options.file}" ! decodebin ! videoconvert ! videorate'
    else:
        source = "videotestsrc is-live=true pattern=ball"
    caps = f"video/x-raw,format=I420,width={options.width},height={options.height},framerate={options.fps}/1"
    encoder = ENCODERS[options.codec].format(gop=options.gop)
    return f"( {source} ! videoscale ! {caps} ! {encoder} name=pay0 pt=96 )"


def authentication(server, factory, options):
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if options.auth == "basic":
        auth.set_supported_methods(1)  # GST_RTSP_AUTH_BASIC
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
    else:
        auth.set_supported_methods(2)  # GST_RTSP_AUTH_DIGEST
        auth.add_digest(options.user, options.password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="0")
    parser.add_argument("--codec", choices=ENCODERS, default="h264")
    parser.add_argument("--file", help="footage instead of the test pattern")
    parser.add_argument("--stream", help="a transport stream of H.264, sent once as it is, without encoding")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--gop", type=int, default=15)
    parser.add_argument("--auth", choices=["basic", "digest"])
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="secret")
    options = parser.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch(options))
    factory.set_shared(not (options.file or options.stream))
    if options.auth:
        authentication(server, factory, options)
    server.get_mount_points().add_factory("/camera", factory)
    loop = GLib.MainLoop()
    if server.attach(None) == 0:
        sys.exit(f"rtsp_server.py: cannot listen on port {options.port}")

    stdin = Gio.UnixInputStream.new(0, False)

    def on_read(stream, result):
        if stream.read_bytes_finish(result).get_size() == 0:
            loop.quit()
        else:
            stream.read_bytes_async(4096, GLib.PRIORITY_DEFAULT, None, on_read)

    stdin.read_bytes_async(4096, GLib.PRIORITY_DEFAULT, None, on_read)
    print(f"ready {server.get_bound_port()}", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
