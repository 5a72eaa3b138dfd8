"""Type into an interactive shell on a pseudo terminal, as a person does.

Standard input: {"argv", "env", "cwd", "setup", "lines"} in JSON. The setup is typed first. Each line is typed, TAB and
Enter are pressed, and what is awaited before the next one is the word RAN, which the program that is run prints.
Standard output: all that the terminal showed. Exits 1 where something does not come.
"""
import json
import os
import pty
import re
import select
import sys
import time

job = json.load(sys.stdin)
pid, terminal = pty.fork()
if pid == 0:
    os.chdir(job["cwd"])
    os.execvpe(job["argv"][0], job["argv"], job["env"])

shown = b""


def wait_for(pattern):
    global shown
    start = len(shown)
    end = time.monotonic() + 45
    while not re.search(pattern, shown[start:]):
        if time.monotonic() > end or not select.select([terminal], [], [], 45)[0]:
            sys.stdout.buffer.write(shown)
            sys.exit(f"waited in vain for {pattern}")
        shown += os.read(terminal, 65536)


# In halves, so that the echo of what is typed is not taken for its output.
os.write(terminal, (job["setup"] + "; printf '%s%s\\n' REA DY\r").encode())
wait_for(rb"READY")
for line in job["lines"]:
    os.write(terminal, (line + "\t\r").encode())
    wait_for(rb"RAN\r?\n")
os.write(terminal, b"exit\r")
sys.stdout.buffer.write(shown)
