#!/usr/bin/env python3
"""Prints the licence notices of everything that a static executable contains: crates, standard library and musl.

    scripts/notices.py [TARGET]      TARGET is x86_64-unknown-linux-musl unless named

MIT wins where a crate offers several licences, because its text is the shortest. A text that several crates share
appears once. A crate without a licence text is an error, so that no package goes out without it.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ROOT / "packaging" / "notices"
# File names of licence texts, the preferred licence first.
PREFERRED = [r"licen[cs]e.*mit", r"licen[cs]e(\.md|\.txt)?$", r"licen[cs]e|copying|unlicense"]


def crates(target):
    """The packages that the executables link, without build scripts and procedural macros."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target,
               "--no-default-features", "--features", "daemon,swarm"]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if found.returncode:
        sys.exit("notices: cargo metadata failed: see above")
    metadata = json.loads(found.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    linked, waiting = {}, [root]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            identity = dependency["pkg"]
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            macro = any("proc-macro" in part["kind"] for part in packages[identity]["targets"])
            if normal and not macro and identity not in linked:
                linked[identity] = packages[identity]
                waiting.append(identity)
    return sorted(linked.values(), key=lambda package: (package["name"], package["version"]))


def licence_text(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for pattern in PREFERRED:
        for path in files:
            if re.match(pattern, path.name, re.IGNORECASE):
                return path.read_text(encoding="utf-8").strip()
    sys.exit("notices: expected a licence text of %s %s in %s, found none" % (package["name"], package["version"], folder))


def main():
    if len(sys.argv) > 2 or any(argument.startswith("-") for argument in sys.argv[1:]):
        sys.exit("usage: scripts/notices.py [TARGET]")
    target = (sys.argv[1:] or ["x86_64-unknown-linux-musl"])[0]
    owners = {}
    for package in crates(target):
        name = "%s %s (%s)" % (package["name"], package["version"], package["license"] or "see the text")
        owners.setdefault(licence_text(package), []).append(name)
    owners[(TEXTS / "rust.txt").read_text(encoding="utf-8").strip()] = ["Rust standard library (MIT OR Apache-2.0)"]
    if "musl" in target:
        owners[(TEXTS / "musl.txt").read_text(encoding="utf-8").strip()] = ["musl (MIT)"]
    rule = "=" * 78
    print("The executables contain these works besides pulsegate. Each licence follows its works.\n")
    for text, names in owners.items():
        print("%s\n%s\n%s\n\n%s\n" % (rule, "\n".join(names), rule, text))


main()
