#!/usr/bin/env bash
# What a bare Debian or Ubuntu lacks before `make quickstart` works. Needs root.
set -euo pipefail
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3 python3-venv python3-pip make git
