#!/usr/bin/env bash
# CMU AN4: TERA without labels, then recognisers of spelled words, numbers and commands by unseen speakers: log-mel, from scratch, TERA frozen and
# fine-tuned. --root names the published AN4; without it the excerpt in $SIGSSL_DATA is taken, which has 43 utterances to learn from.
set -euo pipefail
cd "$(dirname "$0")/../.."
nj=2                               # option: worker processes
size=small                         # option: of TERA: base, small or tiny
root=                              # option: folder of AN4
arms="logmel scratch frozen full"  # option: see recipes/asr.sh
unlabelled="fsdd/all speech_commands_ar/train speech_commands_ar/dev speech_commands_ar/test vctk/all ljspeech/all phones/all"  # option: also pretrained on
. recipes/lib.sh
options "$@"
. recipes/env.sh asr
data=egs/an4/data exp=egs/an4/exp method=tera features=recipes/conf/features/logmel.yaml conf=egs/an4/conf/tera.yaml

stage prepare-an4 --out $data/an4/all/wav.scp -- sigssl prepare an4 $data/an4 ${root:+--root "$root"}
pool=$data/an4/train # its test speakers stay unheard
. recipes/unlabelled.sh
train=pool name=tera
. recipes/pretrain.sh
stage split --in $data/an4/train --out $data/an4/parts/split.json -- \
    sigssl split $data/an4/train $data/an4/parts --parts train:0.8,dev:0.2 # by speaker
data=$data/an4 train=parts/train dev=parts/dev test=test model=$exp/tera base=tiny asr=egs/an4/conf/asr.yaml fractions=1
order=2 search="--method beam"
. recipes/asr.sh
. recipes/asr_score.sh
stage report --in $exp/score --out $exp/report/REPORT.md -- sigssl report $exp --out $exp/report
finish "$exp/report/REPORT.md"
