#!/usr/bin/env bash
# Installs the native libraries that a build needs on Debian or Ubuntu: FFmpeg's headers, pkg-config,
# and libclang for the bindings; libjpeg-turbo's headers; and the ffmpeg program, beside which tests decode.
# With the word `mpi` also Open MPI, for the feature of that name, and the tools that its tests find processes by.
# Does nothing where they are present.
set -euo pipefail

packages=(pkg-config clang libclang-dev gcc g++ ffmpeg libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libturbojpeg0-dev)
if [ "${1:-}" = mpi ]; then packages+=(libopenmpi-dev openmpi-bin procps); fi

present() {
  command -v pkg-config >/dev/null && command -v g++ >/dev/null && command -v clang >/dev/null &&
    command -v ffmpeg >/dev/null &&
    pkg-config --exists libavcodec libavformat libavutil libswscale libturbojpeg || return 1
  [ "${1:-}" != mpi ] || { command -v mpicc && command -v mpirun && command -v pgrep; } >/dev/null
}

if present "${1:-}"; then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo "native-libraries: this is not Debian or Ubuntu; install by hand what these packages hold: ${packages[*]}" >&2
  exit 1
fi
sudo=()
if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
"${sudo[@]}" apt-get update
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
present "${1:-}" || { echo "native-libraries: after the installation something is still not found: ${packages[*]}" >&2; exit 1; }
