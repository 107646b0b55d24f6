"""TCP wires that can be cut and slowed: each leads from a port of its own to a server's."""

import asyncio
import threading

CHUNK = 64 * 1024


class Wire:
    """One wire. `mode` is `whole`, `cut` (what is open is broken, what comes is refused), `stalled` (nothing passes, and all
    of it passes later), `lost` (as if a machine were gone: what is open carries nothing any more, also later, and nobody is
    told) or a delay in seconds."""

    def __init__(self, name, target):
        self.name, self.target = name, target
        self.mode = "whole"
        self.port = None
        self.open, self.lost = {}, set()

    async def serve(self):
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def accept(self, reader, writer):
        if self.mode == "cut":
            writer.transport.abort()
            return
        if self.mode == "lost":
            self.lost.add((writer,))
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, far_writer)
        ways = [asyncio.create_task(way) for way in (self.carry(reader, far_writer), self.carry(far_reader, writer))]
        self.open[both] = ways
        # Where one end is reset, so is the other: a dead process's peer hears of it at once, as it would without us.
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self.open.pop(both, None)
        if both in self.lost:
            return
        for end in both:
            end.transport.abort()

    async def carry(self, reader, writer):
        while data := await reader.read(CHUNK):
            while self.mode == "stalled":
                await asyncio.sleep(0.05)
            if isinstance(self.mode, float):
                await asyncio.sleep(self.mode)
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    def set(self, mode):
        self.mode = mode
        if mode == "cut":
            for end in [end for both in self.open for end in both]:
                end.transport.abort()
        if mode == "lost":
            for both, ways in self.open.items():
                self.lost.add(both)
                for way in ways:
                    way.cancel()

    def close(self):
        """Breaks everything that leads over it."""
        self.set("cut")
        for end in [end for ends in self.lost for end in ends]:
            end.transport.abort()


class Wires:
    """All wires, carried by a thread of their own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.all = []

    def lay(self, name, target):
        wire = Wire(name, target)
        asyncio.run_coroutine_threadsafe(wire.serve(), self.loop).result(10)
        self.all.append(wire)
        return wire

    def set(self, wire, mode):
        self.loop.call_soon_threadsafe(wire.set, mode)

    def stop(self):
        """Carries nothing more."""
        for wire in self.all:
            self.loop.call_soon_threadsafe(wire.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
