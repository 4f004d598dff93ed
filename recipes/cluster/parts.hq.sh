#!/bin/bash
# Work in parts under HyperQueue: parts.hq.sh data cache recipes/xcomp-2b.toml --device cuda
# Then the same command once, without --part, joins what they did. Edit how many parts there are, and what each takes.
PARTS=16
hq submit --array "0-$((PARTS - 1))" --cpus 12 --resource gpus/nvidia=1 --wait -- \
  bash -c "exec xcomp $(printf '%q ' "$@") --part \$HQ_TASK_ID/$PARTS"
