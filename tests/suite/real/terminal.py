"""Runs a shell command on a terminal of so many columns, prints what it writes there, and ends with its status.

terminal.py COLUMNS COMMAND
"""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios


def main(columns: str, command: str) -> int:
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, int(columns), 0, 0))
    running = subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=inside)
    os.close(inside)
    while True:
        try:
            written = os.read(terminal, 65536)
        except OSError:  # nobody has it open any more
            break
        if not written:
            break
        sys.stdout.buffer.write(written.replace(b"\r\n", b"\n"))
    sys.stdout.flush()
    return running.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
