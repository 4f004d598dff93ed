#!/usr/bin/env bash
# Installs what the feature `mpi` needs on Debian or Ubuntu: Open MPI, unless an MPI is there. libclang comes with native-libraries.sh.
set -euo pipefail
if command -v mpicc >/dev/null && command -v mpirun >/dev/null; then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo "mpi-libraries: this is not Debian or Ubuntu; install an MPI with mpicc and mpirun by hand" >&2
  exit 1
fi
sudo=()
if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
"${sudo[@]}" apt-get update
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libopenmpi-dev openmpi-bin procps
