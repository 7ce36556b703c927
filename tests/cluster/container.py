"""Stands in for Docker on hosts that have none: what the launcher asks of it, without a container.

A program by itself, which ``instances.py`` puts on a host as ``docker``. The container's file system is the host's: a volume
is a link, a command runs beside the host's others, as the same user, with the image's and the container's environment
variables and no others. An option that it does not know ends it, as a wrong one ends Docker.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

IMAGE = Path("/etc/container-image.json")
"""What the image sets: environment variables by name."""
STATE = Path("/tmp/container.json")


def main(verb: str, words: list[str]) -> None:
    """Do one command of Docker's."""
    match verb:
        case "info":
            print("map[runc:{}]")
        case "image":  # is it here? then it need not be pulled
            pass
        case "inspect":
            inspect(*words[1:])
        case "run":
            run(words)
        case "exec":
            execute(words)
        case _:
            sys.exit(f"docker {verb}: not known here")


def inspect(template: str, name: str) -> None:
    image = json.loads(IMAGE.read_text())
    if template == "{{json .Config.Env}}":
        print(json.dumps([f"{variable}={value}" for variable, value in image.items()]))
        return
    if not STATE.exists():
        sys.exit(f"Error: No such object: {name}")
    print({"{{.State.Running}}": "true"}[template])


def run(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    for flag in ("--rm", "-d", "-i", "-t"):
        parser.add_argument(flag, action="store_true")
    for option in ("--name", "--ulimit", "--shm-size", "--net"):
        parser.add_argument(option)
    parser.add_argument("-v", "--volume", action="append", default=[])
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("command")
    asked = parser.parse_args(words)
    for volume in asked.volume:
        source, target = volume.split(":")
        os.makedirs(source, exist_ok=True)
        os.symlink(source, target)
    STATE.write_text(json.dumps(dict(setting.split("=", 1) for setting in asked.env)))


def execute(words: list[str]) -> None:
    while words[0] in ("-i", "-it"):
        words = words[1:]
    _, *command = words
    environment = json.loads(IMAGE.read_text()) | json.loads(STATE.read_text())
    os.chdir(environment["HOME"])
    os.execvpe(command[0], command, environment | {"TERM": os.environ.get("TERM", "dumb")})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
