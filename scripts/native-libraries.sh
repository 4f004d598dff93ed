#!/usr/bin/env bash
# Installs the native libraries that a build needs on Debian or Ubuntu: FFmpeg's headers, pkg-config,
# and libclang for the bindings; libjpeg-turbo's headers; and the ffmpeg program, beside which tests decode.
# With the word `mpi` also Open MPI, for the feature of that name, and the tools that its tests find processes by.
# With the word `browser` also Chromium, in which pages of reports are tried.
# With the word `vulkan` also the headers of Vulkan and Mesa's driver in software, on which GPU code can be checked without a GPU. Debian 12 takes it from
# its backports: what it has itself (Mesa 22.3) is older than the memory model that kernels ask for.
# Does nothing where they are present.
set -euo pipefail

packages=(pkg-config clang libclang-dev gcc g++ ffmpeg libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libturbojpeg0-dev)
if [ "${1:-}" = mpi ]; then packages+=(libopenmpi-dev openmpi-bin procps); fi
if [ "${1:-}" = browser ]; then packages+=(chromium); fi
if [ "${1:-}" = vulkan ]; then packages+=(libvulkan-dev); fi

# The driver in software, not older than Mesa 23.
software_driver() {
  ls /usr/share/vulkan/icd.d/lvp_icd*.json >/dev/null 2>&1 &&
    dpkg --compare-versions "$(dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2>/dev/null || echo 0)" ge 23
}

present() {
  command -v pkg-config >/dev/null && command -v g++ >/dev/null && command -v clang >/dev/null &&
    command -v ffmpeg >/dev/null &&
    pkg-config --exists libavcodec libavformat libavutil libswscale libturbojpeg || return 1
  [ "${1:-}" != browser ] || command -v chromium >/dev/null || command -v google-chrome >/dev/null || return 1
  [ "${1:-}" != vulkan ] || { [ -f /usr/include/vulkan/vk_layer.h ] && software_driver; } || return 1
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
if [ "${1:-}" = vulkan ] && ! software_driver; then
  release=()
  if grep -q '^VERSION_CODENAME=bookworm' /etc/os-release; then
    # Beside the archive that this machine takes its packages from already.
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Label: Debian' | sort -u | head -1)
    echo "deb $archive bookworm-backports main" | "${sudo[@]}" tee /etc/apt/sources.list.d/bookworm-backports.list >/dev/null
    "${sudo[@]}" apt-get update
    release=(-t bookworm-backports)
  fi
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${release[@]}" mesa-vulkan-drivers
fi
present "${1:-}" || { echo "native-libraries: after the installation something is still not found: ${packages[*]}" >&2; exit 1; }
