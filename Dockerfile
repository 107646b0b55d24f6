# The images, made by `just image`: it lays out for each target what its COPY lines name, with the program that `just build` made on
# Debian 12, and hands it to the builder with those stages alone that the target needs.
#
#   detektor  every role and tool
#   cameras   RTSP cameras on the sample footage, for trying things out and for tests
#
# Debian's FFmpeg is a GPL build: the image `detektor`, which holds it, is under the GPL as a whole when you pass it on.

# Every library that `ldd` shows comes with these packages.
FROM debian:bookworm-slim AS base
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libavcodec59 libavformat59 libavutil57 \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
 && echo 'detektor:x:65532:65532::/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'detektor:x:65532:' >> /etc/group

FROM base AS detektor
# What changes seldom comes first, so that a new program alone is a new layer.
COPY lib/ /usr/lib/detektor/
COPY share/ /usr/share/detektor/
COPY doc/ /usr/share/doc/detektor/
COPY bin/ /usr/local/bin/
ENV ORT_DYLIB_PATH=/usr/lib/detektor/libonnxruntime.so
USER 65532:65532
EXPOSE 8080
# Kubernetes has probes of its own. A role that is given another `listen` needs another address here.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["detektor", "health"]
ENTRYPOINT ["/usr/local/bin/detektor"]
CMD ["--help"]
LABEL org.opencontainers.image.title="detektor" \
      org.opencontainers.image.description="Camera streams in, ordered and de-duplicated detection events out." \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-or-later" \
      org.opencontainers.image.base.name="debian:bookworm-slim"

FROM debian:bookworm-slim AS cameras
# The RTSP server's package wants all of GStreamer's plugins, with a desktop behind them; half of that is not used and taken out again.
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
 && dpkg --purge --force-depends gstreamer1.0-plugins-bad libllvm15 libz3-4 libgl1-mesa-dri libflite1 libmfx1 libgtk-3-common libgtk-3-0 \
      adwaita-icon-theme iso-codes libcodec2-1.0 libx265-199 libavcodec59 libsvtav1enc1 \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
 && echo 'cameras:x:65532:65532::/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'cameras:x:65532:' >> /etc/group
COPY share/ /usr/share/detektor/
COPY doc/ /usr/share/doc/detektor-cameras/
COPY bin/ /usr/local/bin/
# Where GStreamer notes what plugins there are; anything else than a plain file there is made anew at each start.
ENV GST_REGISTRY=/tmp/gstreamer-registry.bin GST_REGISTRY_FORK=no PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8554
HEALTHCHECK --interval=10s --timeout=5s CMD ["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8554), 3)"]
ENTRYPOINT ["/usr/local/bin/detektor-cameras"]
LABEL org.opencontainers.image.title="detektor-cameras" \
      org.opencontainers.image.description="RTSP cameras on Detektor's sample footage, for tests." \
      org.opencontainers.image.licenses="Apache-2.0 AND LGPL-2.1-or-later" \
      org.opencontainers.image.base.name="debian:bookworm-slim"
