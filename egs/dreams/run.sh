#!/usr/bin/env bash
# DREAMS spindle excerpts (raw clinical EEG, 6 x 30 min): NeuroNet on all raw EEG that is here except the excerpt in test, then heads
# by leave-one-excerpt-out, beside the same network from scratch, single epochs, and logistic regression on band powers.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=             # option: the DREAMS folder, where it is not in $SIGSSL_DATA/sleep/dreams_spindles
muse=             # option: the Muse recordings (data/visual), where they are not in $SIGSSL_DATA/eeg_muse
nj=2              # option: worker processes
size=tiny         # option: of NeuroNet: base, t, fast or tiny
excerpts="1 2 3 4 5 6"  # option: which are left out in turn
data=egs/dreams/data    # option: folder of the data directories
exp=egs/dreams/exp      # option: folder of everything that is made
. recipes/lib.sh
options "$@"
. recipes/env.sh sleep
conf=egs/dreams/conf/neuronet.yaml heads=egs/dreams/conf/heads.yaml features=egs/dreams/conf/eeg.yaml

stage prepare --out "$data/dreams/all" -- sigssl prepare dreams "$data/dreams" ${root:+--root "$root"}
stage prepare-muse --out "$data/muse/edf" -- sigssl prepare muse "$data/muse" ${muse:+--root "$muse"}
stage recordings --in "$data/muse/edf" --out "$data/recordings/all" -- \
    sigssl prepare folder "$data/recordings" --root "$data/muse/edf" --speaker none --nj "$nj"
stage combine --in "$data/dreams/all" --in "$data/recordings/all" --out "$data/pool/wav.scp" -- \
    sigssl combine "$data/pool" "$data/dreams/all" "$data/recordings/all"
stage features --in "$data/pool" --in "$features" --out "$exp/nights/feats.scp" -- \
    sigssl features --config "$features" "$data/pool" "$exp/nights" --nj "$nj" --overwrite
for n in $excerpts; do
    stage "without-$n" --in "$data/pool" --out "$data/without_$n/wav.scp" -- \
        sigssl subset "$data/pool" "$data/without_$n" --not-spks "excerpt$n"
    stage "pretrain-$n" --in "$data/without_$n" --in "$exp/nights/feats.json" --in "recipes/conf/neuronet/$size.yaml" --in "$conf" \
        --out "$exp/neuronet_excerpt$n/encoder/model.safetensors" -- \
        sigssl pretrain --config "recipes/conf/neuronet/$size.yaml" --config "$conf" --out "$exp/neuronet_excerpt$n" \
        "data.train=$data/without_$n" "data.feats=$exp/nights"
done
stage heads --in "$exp/neuronet_excerpt$n/encoder" --in "$data/dreams/all" --in recipes/conf/sleep/encoder.yaml --in "$heads" \
    --out "$exp/sleep/metrics.json" -- \
    sigssl finetune sleep --config recipes/conf/sleep/encoder.yaml --config "$heads" --data "$data/dreams/all" --store "$exp/nights" \
    --model "$exp/neuronet_{fold}" --out "$exp/sleep"
finish "$exp/sleep/table.md"
