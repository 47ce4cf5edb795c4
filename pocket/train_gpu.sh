#!/usr/bin/env bash
# Both worlds on one GPU within SECONDS_LEFT of wall-clock time (default 480), photographs first; models in OUT/photos, OUT/drawings.
#   bash pocket/train_gpu.sh CIFAR10_FOLDER OUT [SECONDS_LEFT]
# Every stage is a process of its own, so that one that fails costs only what needs it. Banks are drawn before anything trains:
# beside the trainings they take the processor from all of them.
set -u
cifar=$1 out=$2 end=${3:-480}
export PYTHONUNBUFFERED=1
mkdir -p "$out"
photos() { python3 -m pocket.make pocket/photos.yaml --device cuda --stage "$1" world.source="$cifar" work="$out/train/photos" "${@:2}" >> "$out/photos.log" 2>&1; }
drawings() { python3 -m pocket.make pocket/drawings.yaml --device "${device:-cuda}" --stage "$1" work="$out/train/drawings" "${@:2}" >> "$out/drawings.log" 2>&1; }
ship() {  # WORLD: what is finished so far
    for stage in generator clip judge; do
        for model in "$out/train/$1"/world-*/$stage/finished; do
            [ -d "$model" ] && rm -rf "$out/$1/$stage" && mkdir -p "$out/$1" && cp -r "$model" "$out/$1/$stage"
        done
    done
}
left() { local seconds=$((end - SECONDS - 45)); [ "$seconds" -gt "$1" ] && seconds=$1; [ "$seconds" -lt 5 ] && seconds=5; echo $seconds; }

photos bank; echo "bank of photographs: $SECONDS s"
photos judge judge.seconds=70 judge.steps=100000 judge.batch_size=512 & judge=$!
photos clip clip.seconds=80 clip.steps=100000 clip.batch_size=512 & clip=$!
photos autoencoder autoencoder.seconds=60 autoencoder.steps=100000 autoencoder.batch_size=256
wait $judge; echo "photographs, judge and autoencoder: $SECONDS s"
photos generator generator.seconds="$(left 9999)" generator.steps=1000000 generator.batch_size=1024 generator.learning_rate=0.0012 generator.ema=0.999 & generator=$!
wait $clip
device=cpu timeout 150 bash -c "$(declare -f drawings); out=$out device=cpu drawings bank"; echo "banks of drawings: $SECONDS s"
drawings judge judge.seconds=40 judge.steps=100000 judge.batch_size=256 judge.learning_rate=0.004 & judge=$!
drawings clip clip.seconds=50 clip.steps=100000 clip.batch_size=384 & clip=$!
drawings autoencoder autoencoder.seconds=40 autoencoder.steps=100000 autoencoder.batch_size=256
wait $judge $clip; echo "drawings, all but the generator: $SECONDS s"
drawings generator generator.seconds="$(left 130)" generator.steps=1000000 generator.batch_size=512 generator.ema=0.999
ship drawings
wait $generator
ship photos; echo "done: $SECONDS s"
