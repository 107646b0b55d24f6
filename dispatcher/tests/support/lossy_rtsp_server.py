#!/usr/bin/python3
"""The test server behind a network that loses one packet in twenty."""

import rtsp_server

whole = rtsp_server.launch
rtsp_server.launch = lambda options: whole(options).replace(
    "name=pay0 pt=96", "pt=96 mtu=400 ! identity name=pay0 drop-probability=0.05"
)

if __name__ == "__main__":
    rtsp_server.main()
