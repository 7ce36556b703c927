"""What is on a host before Ray's launcher comes: an environment with the packages of this one, as a machine's image has."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def install_extras(folder: Path) -> str | None:
    """Put what cluster/constraints.txt pins, and what builds the project, into a folder; why that failed, or None."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    pinned = ["--requirement", str(REPOSITORY / "cluster" / "constraints.txt"), "setuptools>=77"]
    done = subprocess.run([*command, *pinned], capture_output=True, text=True, check=False)
    return f"no package index: {done.stderr.strip().splitlines()[-1]}" if done.returncode else None


def prepared(extras: Path) -> str:
    """Commands for ``Network.boot`` that make ``~/minbert-venv``, and tell pip that there is no index.

    The environment finds the packages of the one that runs this and those of ``extras``, but not the project. A host
    must be shown both. (pip reads ``false`` as the option given: the project is built with what is there.)
    """
    packages, scripts = sysconfig.get_path("purelib"), Path(sys.executable).parent
    own = f"$venv/lib/python{sysconfig.get_python_version()}/site-packages"
    return f"""
        printf '[install]\\nno-index = true\\nno-build-isolation = false\\n' > /etc/pip.conf
        venv=$home/minbert-venv
        {sys.executable} -m venv --without-pip $venv
        printf '%s\\n' {packages} {extras} > {own}/machine.pth
        for script in pip ray; do
            sed "1s|.*|#!$venv/bin/python|" {scripts}/$script > $venv/bin/$script
            chmod +x $venv/bin/$script
        done
        chown -R $user: $venv
    """
