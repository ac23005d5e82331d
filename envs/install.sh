#!/bin/sh
# Install into a container's Python what pyproject.toml, beside this file, asks for; its dependencies, and the plugins
# for clusters. The stages themselves are not in the image: they come from the repository, so an edit needs no new one.
set -eu
cd "$(dirname "$0")"
python -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
print(*project["dependencies"], *project["optional-dependencies"]["cluster"], sep="\n")
' >requirements.txt
${PIP:-pip} install --no-cache-dir --requirement requirements.txt
