"""A program at a terminal, driven by a test: what is typed, what appears."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time


class Terminal:
    """Starts a program on a pseudo-terminal of its own, as the leader of a session."""

    def __init__(self, arguments, columns=80, rows=24, **environment):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

        def lead():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, preexec_fn=lead, close_fds=True,
                                        env={**os.environ, "TERM": "xterm", **environment})
        os.close(slave)
        self.seen = b""  # all that came
        self.mark = 0    # up to where expect() has looked

    def type(self, text):
        os.write(self.master, text if isinstance(text, bytes) else text.encode())

    def expect(self, pattern, seconds=60):
        """Waits until the pattern (a regular expression) comes after what was expected before, and returns what came up to its end."""
        end = time.monotonic() + seconds
        compiled = re.compile(pattern.encode() if isinstance(pattern, str) else pattern, re.DOTALL)
        while True:
            found = compiled.search(self.seen, self.mark)
            if found:
                text = self.seen[self.mark:found.end()]
                self.mark = found.end()
                return text.decode(errors="replace")
            if time.monotonic() > end:
                raise AssertionError(f"waited for {pattern!r}, saw {self.seen[self.mark:]!r}")
            if not self._read(min(1.0, max(0.0, end - time.monotonic()))):
                raise AssertionError(f"the program ended before {pattern!r}: {self.seen[self.mark:]!r}")

    def _read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the other side is closed
                data = b""
            self.seen += data
            return bool(data)
        return True

    def wait(self, seconds=60):
        """The exit code; what is still printed is read meanwhile."""
        end = time.monotonic() + seconds
        while self._read(0.2) and time.monotonic() < end:
            pass
        return self.process.wait(timeout=max(1.0, end - time.monotonic()))

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.master)


def plain(text):
    """Without the escape sequences with which an editor draws."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
