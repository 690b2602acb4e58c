"""A server on the fake engine in a process of its own; prints the port that it took. It is told how long to wait for a head."""

import sys

from tests.serving.fake_engine import FakeEngine

from rootstock.serving import protocol
from rootstock.serving.app import front
from rootstock.serving.door import Rules
from rootstock.serving.journal import Journal
from rootstock.serving.process import Life, Place, serve

if __name__ == "__main__":
    engine, journal, place = FakeEngine(), Journal(), Place(port=0)
    taken = place.bound()
    protocol.HEAD_SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else protocol.HEAD_SECONDS

    def begun():
        sys.stdout.write(f"{taken.getsockname()[1]}\n")
        sys.stdout.flush()

    serve(front(engine, Rules(), journal), place, taken, journal, Life(begun=begun, drain=engine.drain))
    journal.note("ended", left=engine.inside)
    journal.close()
