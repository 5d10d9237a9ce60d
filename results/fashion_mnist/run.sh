#!/bin/sh
# Trains each network with three seeds and scores it once on the test split; `runs/` holds what comes
# of it. A training that was stopped goes on. `run.sh NAME SEED` makes a single one, without arguments
# all are made, two at a time.
set -e
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1
train() {
    name=$1 seed=$2 run=runs/$1-$2
    spach-nas train "networks/$name.yaml" --data fashion-mnist --recipe recipe.yaml \
        --set "seed=$seed" --out "$run" --resume
    spach-nas evaluate "$run/bundle" --data fashion-mnist --json >"$run/test.json"
}
if [ $# -eq 2 ]; then
    train "$1" "$2"
else
    for seed in 0 1 2; do
        for name in best hybrid conv attention mlp; do echo "$name $seed"; done
    done | xargs -P 2 -L 1 sh "$0"
fi
