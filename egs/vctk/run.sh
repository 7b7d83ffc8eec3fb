#!/usr/bin/env bash
# VCTK: TERA without labels, then recognisers of read sentences with characters and CTC: log-mel, TERA frozen and fine-tuned, from scratch.
# --root names VCTK; without it the excerpt in $SIGSSL_DATA is taken: one speaker, p239, so its sentences are divided, not speakers.
set -euo pipefail
cd "$(dirname "$0")/../.."
nj=2                      # option: worker processes
size=small                # option: of TERA: base, small or tiny
root=                     # option: folder of VCTK
by=utterance              # option: what is divided into train, dev and test: utterance, or speaker where there are several
arms="logmel scratch frozen full"  # option: see recipes/asr.sh
fractions="1"             # option: shares of the transcribed training sentences
unlabelled="fsdd/all speech_commands_ar/train speech_commands_ar/dev speech_commands_ar/test an4/train ljspeech/all phones/all"  # option: also pretrained on
. recipes/lib.sh
options "$@"
. recipes/env.sh asr
data=egs/vctk/data exp=egs/vctk/exp method=tera features=recipes/conf/features/logmel.yaml conf=egs/vctk/conf/tera.yaml

stage prepare-vctk --out $data/vctk/all/wav.scp -- sigssl prepare vctk $data/vctk ${root:+--root "$root"}
stage split --in $data/vctk/all --out $data/parts/split.json -- \
    sigssl split $data/vctk/all $data/parts --parts train:0.8,dev:0.1,test:0.1 --by "$by"
pool=$data/parts/train # dev and test stay unheard
. recipes/unlabelled.sh
train=pool name=tera
. recipes/pretrain.sh
data=$data/parts train=train dev=dev test=test model=$exp/tera base=tiny asr=egs/vctk/conf/asr.yaml order=2 search="--method beam"
. recipes/asr.sh
. recipes/asr_score.sh
stage report --in $exp/score --out $exp/report/REPORT.md -- sigssl report $exp --out $exp/report
finish "$exp/report/REPORT.md"
