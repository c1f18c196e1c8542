"""A bridge of the simulated feed that runs and answers, for the programs on the pages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge_process import PATIENCE_S, Bridge, free_port


class ServedBridge(Bridge):
    """A `Bridge` with a request side, of one worker."""

    serve: str

    @classmethod
    def ready(cls, data_dir: Path, *options: str) -> "ServedBridge":
        serve = f"tcp://127.0.0.1:{free_port()}"
        made = super().ready(data_dir, f"serve.bind={serve}", "serve.workers=1", *options)
        assert isinstance(made, ServedBridge)
        made.serve = serve
        return made

    @property
    def given(self) -> str:
        """How the client of the pages is told where this bridge is."""
        return f'Bridge(publish="{self.msgpack}", requests="{self.serve}", control="{self.control}")'

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        """Run it; everything is stored when the block ends."""
        log = self.data_dir.parent / "bridge.log"
        log.unlink(missing_ok=True)
        process = self.start("run", *arguments, log=log)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while "answering" not in (said := log.read_text()):
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, log.read_text()[-4_000:]
