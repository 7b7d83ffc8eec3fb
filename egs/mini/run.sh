#!/usr/bin/env bash
# Made speech and made nights, offline, from nothing to a report in under 15 minutes on 2 cores: speech -> log-mel on disk -> TERA ->
# embeddings, phone probe beside its baselines, recognisers of spoken numbers at three shares of the labels, with and without language model;
# scored nights -> signals on disk -> NeuroNet -> Mamba head over the night -> a new night staged; egs/mini/exp/report.
set -euo pipefail
cd "$(dirname "$0")/../.."
nj=2                              # option: worker processes
size=small                        # option: of TERA: base, small or tiny
hours=0.6                         # option: of speech to make
speakers=24                       # option: voices; 70 % of them train
numbers=0.3                       # option: hours of spoken numbers, by the same voices
arms="scratch frozen full"        # option: recognisers, see recipes/asr.sh
fractions="0.25 0.5 1"            # option: shares of the transcribed numbers
probe_conf=egs/mini/conf/probe.yaml # option: YAML laid over recipes/conf/probe/frame.yaml
asr_words=                        # option: settings of sigssl finetune asr over egs/mini/conf/asr.yaml
night_hours=2                     # option: length of each of the four nights
night_updates=400                 # option: of NeuroNet
data=egs/mini/data                # option: folder of the data directories
exp=egs/mini/exp                  # option: folder of everything that is made
conf=egs/mini/conf/tera.yaml      # option: YAML laid over recipes/conf/tera/$size.yaml
. recipes/lib.sh
options "$@"
. recipes/env.sh asr demo sleep
root=$data method=tera name=tera train=train dev=dev test=test features=recipes/conf/features/logmel.yaml

stage prepare --out "$data/train" -- sigssl prepare synthetic "$data" --hours "$hours" --speakers "$speakers" --nj "$nj"
. recipes/ssl.sh
stage embed --in "$exp/tera/encoder" --in "$data/test" --out "$exp/embeddings/emb.scp" -- sigssl embed --model "$exp/tera" "$data/test" "$exp/embeddings" --layer last --pool none --nj "$nj" --overwrite
target=phones level=frame
. recipes/probe.sh

data=$root/numbers model=$exp/tera base=tiny asr=egs/mini/conf/asr.yaml order=3 search="--method lexicon"
stage prepare-numbers --out "$data/train" -- sigssl prepare synthetic "$data" --topic numbers --hours "$numbers" --speakers "$speakers" --nj "$nj"
. recipes/asr.sh
. recipes/asr_score.sh
new=$root/new_night/sleep-cassette reference=$new data=$root/nights conf=egs/mini/conf/neuronet.yaml size=tiny
signal="signal.channels=[Fpz-Cz]" head=bimamba passes=12 updates=$night_updates
stage prepare-nights --out "$data/all" -- sigssl prepare synthetic_psg "$data" --nights 4 --subjects 4 --hours "$night_hours" --nj "$nj"
stage prepare-new-night --out "$new" -- sigssl prepare synthetic_psg "${new%/*}" --nights 1 --hours "$night_hours" --seed 1
. recipes/stager.sh
stage report --in "$exp/probe_phones" --in "$exp/score" --in "$exp/sleep" --out "$exp/report/REPORT.md" -- sigssl report "$exp" --out "$exp/report"
finish "$exp/report/REPORT.md and $exp/staged/index.html"
