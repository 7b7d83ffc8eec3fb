#!/usr/bin/env bash
# LibriSpeech as published: TERA on the training subsets without labels, then a speaker probe beside log-mel and the untrained encoder, and
# speech recognition as in SUPERB: a BLSTM with CTC on frozen states, trained on train-clean-100, beside the same on log-mel; test-clean.
# --root names the folder LibriSpeech (or where to unpack it, with --download true); --subsets what to pretrain on.
set -euo pipefail
cd "$(dirname "$0")/../.."
nj=8                       # option: worker processes
size=base                  # option: of the model: base, small or tiny
root=downloads             # option: folder that holds LibriSpeech
download=false             # option: fetch what is missing (openslr.org, CC BY 4.0; sizes and hashes are checked)
subsets="train-clean-100"  # option: to pretrain on, joined by commas; 960 h: train-clean-100,train-clean-360,train-other-500
asr_subset="train-clean-100"  # option: what recognisers learn from
arms="logmel frozen"       # option: recognisers, see recipes/asr.sh
asr_words=                 # option: settings of sigssl finetune asr over recipes/conf/asr/blstm.yaml
data=egs/librispeech/data  # option: folder of the data directories
exp=egs/librispeech/exp    # option: folder of everything that is made
. recipes/lib.sh
options "$@"
. recipes/env.sh asr
method=tera features=recipes/conf/features/logmel.yaml conf=egs/librispeech/conf/tera.yaml
train=pool dev=dev-clean name=tera target=speaker

stage prepare --out "$data/dev-clean/wav.scp" -- \
    sigssl prepare librispeech "$data" --root "$root" --subsets "$subsets,dev-clean,test-clean" --download "$download" --nj "$nj"
# shellcheck disable=SC2086  # one folder for each subset
stage combine --out "$data/pool/wav.scp" -- sigssl combine "$data/pool" $data/${subsets//,/ $data/}
for part in pool dev-clean; do stage "validate-$part" --in "$data/$part" -- sigssl validate "$data/$part"; done
stage pretrain-tera --in "$data/pool" --in "recipes/conf/tera/$size.yaml" --in "$conf" --out "$exp/tera/encoder/model.safetensors" -- \
    sigssl pretrain --config "recipes/conf/tera/$size.yaml" --config "$conf" --out "$exp/tera" "data.train=$data/pool" "data.valid=$data/$dev"
# speakers must be in all parts of a speaker probe: utterances are divided instead
stage split-$target --in "$data/$dev" --out "$data/speakers/train" -- \
    sigssl split "$data/$dev" "$data/speakers" --parts train:0.8,dev:0.1,test:0.1 --by utterance
stage probe-$target --in "$exp/tera/encoder" --in "$data/speakers" --out "$exp/probe_$target/metrics.json" -- \
    sigssl probe --config recipes/conf/probe/utterance.yaml --model "$exp/tera" --train "$data/speakers/train" \
    --dev "$data/speakers/dev" --test "$data/speakers/test" --target $target --out "$exp/probe_$target"
train=$asr_subset dev=dev-clean test=test-clean model=$exp/tera base=blstm asr='' fractions=1 order=4 search="--method lexicon --beam 500 --lm-weight 2"
. recipes/asr.sh
. recipes/asr_score.sh
stage report --in "$exp/probe_$target" --in "$exp/score" --out "$exp/report/REPORT.md" -- sigssl report "$exp" --out "$exp/report"
finish "$exp/report/REPORT.md"
