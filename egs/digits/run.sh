#!/usr/bin/env bash
# FSDD, ten spoken digits: TERA without labels, then digit probes by leave-one-speaker-out, beside log-mel and the untrained encoder.
# For each speaker an encoder is pretrained that never heard him or her, on the other speakers and on further unlabelled speech.
set -euo pipefail
cd "$(dirname "$0")/../.."
nj=2                                                  # option: worker processes
size=small                                            # option: of the model: base, small or tiny
unlabelled="speech_commands_ar/train speech_commands_ar/dev speech_commands_ar/test vctk/all an4/all ljspeech/all phones/all"  # option: also pretrained on
speakers="george jackson lucas nicolas theo"          # option: who is left out in turn
. recipes/lib.sh
options "$@"
. recipes/env.sh
data=egs/digits/data exp=egs/digits/exp method=tera features=egs/digits/conf/logmel_8k.yaml conf=egs/digits/conf/tera.yaml

stage prepare-fsdd --out $data/fsdd/all/wav.scp -- sigssl prepare fsdd $data/fsdd
pool=$data/fsdd/all
. recipes/unlabelled.sh
for speaker in $speakers; do
    stage "without-$speaker" --in $data/pool --out "$data/without_$speaker/wav.scp" -- \
        sigssl subset $data/pool "$data/without_$speaker" --not-spks "$speaker"
    train=without_$speaker name=tera_$speaker
    . recipes/pretrain.sh
done
stage probe --in $data/fsdd/all --in recipes/conf/probe/utterance.yaml --in "$exp/tera_$speaker/encoder" --out $exp/probe/metrics.json -- \
    sigssl probe --config recipes/conf/probe/utterance.yaml --model "$exp/tera_{fold}" --data $data/fsdd/all --folds loso \
    --segments 3 --layers joined --out $exp/probe
stage report --in $exp/probe --out $exp/report/REPORT.md -- sigssl report $exp --out $exp/report
finish "$exp/report/REPORT.md"
