#!/usr/bin/env bash
# What a machine with a GPU can tell of hemojax, the most useful first: whatever is there after 3, 8 or 15 minutes stands.
#
#   [PYTHON=python3] [QUICK=1] benchmarks/gpu.sh [FOLDER]
#
# FOLDER (or $OUT, or gpu-results) gets a log for each step, its result files, and summary.txt: step, exit status (124:
# it ran past its limit), seconds. PyTorch and its libraries are timed where they are installed. QUICK=1 is for trying the
# script itself, also on a CPU: the same steps, as small as they can be.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
out=${1:-${OUT:-gpu-results}}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
summary=$out/summary.txt
: >"$summary"

# step NAME LIMIT COMMAND...: runs it for LIMIT seconds at most, and goes on whatever comes of it
step() {
    local name=$1 limit=$2 begun=$SECONDS status=0
    shift 2
    timeout --kill-after=10 "$limit" "$@" >"$out/$name.log" 2>&1 || status=$?
    printf '%-28s status %-3s %5s s\n' "$name" "$status" "$((SECONDS - begun))" | tee -a "$summary"
}

# job NAME LIMIT CONFIG OPTIONS...: a run of main.py; its tables and pictures stay, its records and weights do not
job() {
    local name=$1 limit=$2 config=$3
    shift 3
    step "$name" "$limit" "$python" main.py --config="$config" --workdir="$out/$name" "$@"
    rm -rf "$out/$name/records" "$out/$name/checkpoints" "$out/$name/data" "$out/$name/maps"
}

environment() {
    nvidia-smi
    "$python" --version
    "$python" -m pip list
    "$python" -c 'import jax; print(jax.devices(), jax.devices()[0].device_kind, jax.local_devices()[0].memory_stats())'
}
export -f environment
export python

speed=configs/speed.py:gpu
bench=configs/bench.py:efficientnet_v2_s
network="('efficientnet_v2_s',)"
if [ -n "${QUICK:-}" ]; then
    speed=configs/speed.py:tiny bench=configs/smoke.py network="('resnet18',)"
fi

step environment 60 bash -c environment
# does a training step, and does the engine, compile and run at all
job check-training 240 configs/speed.py:tiny --config.speed.networks="$network" --config.speed.workloads="('training',)"
job check-maps 240 configs/speed.py:tiny --config.speed.what=cams --config.speed.networks="('resnet18',)" \
    --config.speed.requests="('GradCAM stage2',)"
job smoke 300 configs/smoke.py
job forward 300 "$speed" --config.speed.workloads="('forward',)"
job gradients-and-training 600 "$speed" --config.speed.workloads="('gradients','training')"
job forms 420 "$speed" --config.speed.what=forms
job layers 420 "$speed" --config.speed.what=layers
job phantom-float32 900 "$bench"
job phantom-bfloat16 900 "$bench" --config.model.dtype=bfloat16
job input 300 "$speed" --config.speed.what=input
if [ -z "${QUICK:-}" ]; then
    job gradcam 300 "$speed" --config.speed.what=cams --config.speed.rounds=3 --config.speed.requests="('GradCAM stage5',)"
    job ablationcam 600 "$speed" --config.speed.what=cams --config.speed.rounds=3 \
        --config.speed.requests="('AblationCAM stage5','ScoreCAM stage5')"
    job cams 3600 "$speed" --config.speed.what=cams --config.speed.rounds=1
    job resnet50 900 "$speed" --config.speed.networks="('resnet50',)"
fi
cat "$summary"
