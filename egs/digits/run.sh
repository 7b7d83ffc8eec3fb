#!/usr/bin/env bash
# FSDD, ten spoken digits, by leave-one-speaker-out: for each speaker an encoder (TERA) is pretrained that never heard him or her, on the other
# speakers and on further unlabelled speech; then digits are probed, and strings of 3 to 7 digits made of them recognised.
set -euo pipefail
cd "$(dirname "$0")/../.."
nj=2                                                  # option: worker processes
size=small                                            # option: of the model: base, small or tiny
unlabelled="speech_commands_ar/train speech_commands_ar/dev speech_commands_ar/test vctk/all an4/all ljspeech/all phones/all"  # option: also pretrained on
speakers="george jackson lucas nicolas theo"          # option: who is left out in turn
arms="logmel frozen full"                             # option: recognisers, see recipes/asr.sh
. recipes/lib.sh
options "$@"
. recipes/env.sh asr
root=egs/digits/data exp=egs/digits/exp method=tera features=egs/digits/conf/logmel_8k.yaml conf=egs/digits/conf/tera.yaml
data=$root strings=$root/strings base=tiny asr=egs/digits/conf/asr.yaml fractions=1 order=2 search="--method lexicon"

stage prepare-fsdd --out $data/fsdd/all/wav.scp -- sigssl prepare fsdd $data/fsdd
pool=$data/fsdd/all
. recipes/unlabelled.sh
stage prepare-strings --out $strings/all/wav.scp -- sigssl prepare digit_strings $strings
for speaker in $speakers; do
    stage "without-$speaker" --in $data/pool --out "$data/without_$speaker/wav.scp" -- \
        sigssl subset $data/pool "$data/without_$speaker" --not-spks "$speaker"
    dev='' train=without_$speaker name=tera_$speaker
    . recipes/pretrain.sh
    for part in train dev; do
        stage "strings-$part-without-$speaker" --in $strings/$part --out "$strings/${part}_without_$speaker/text" -- \
            sigssl subset $strings/$part "$strings/${part}_without_$speaker" --not-spks "$speaker"
    done
    stage "strings-of-$speaker" --in $strings/all --out "$strings/of_$speaker/text" -- sigssl subset $strings/all "$strings/of_$speaker" --spks "$speaker"
    data=$strings fold=_$speaker train=train_without_$speaker dev=dev_without_$speaker test=of_$speaker model=$exp/$name
    . recipes/asr.sh
    data=$root
done
data=$strings test=all folds=" $speakers" && folds=${folds// / _}
. recipes/asr_score.sh
stage probe --in $root/fsdd/all --in recipes/conf/probe/utterance.yaml --in "$exp/tera_$speaker/encoder" --out $exp/probe/metrics.json -- \
    sigssl probe --config recipes/conf/probe/utterance.yaml --model "$exp/tera_{fold}" --data $root/fsdd/all --folds loso --segments 3 --layers joined --out $exp/probe
stage report --in $exp/probe --in $exp/score --out $exp/report/REPORT.md -- sigssl report $exp --out $exp/report
finish "$exp/report/REPORT.md"
