#!/usr/bin/env bash
# Synthetic nights, offline: NeuroNet without labels, then sequence heads on 1 and 3 labelled subjects, beside the same network from
# scratch and heads that see single epochs. EDF+ files laid out as Sleep-EDF's, so the same recipe serves real nights.
set -euo pipefail
cd "$(dirname "$0")/../.."
nj=2                                      # option: worker processes
size=tiny                                 # option: of NeuroNet: base, t, fast or tiny
nights=24                                 # option: how many, of as many people
hours=8                                   # option: length of a night
parts=train:0.6,dev:0.15,test:0.25        # option: shares of the people
data=egs/synthetic_psg/data               # option: folder of the data directories
exp=egs/synthetic_psg/exp                 # option: folder of everything that is made
conf=egs/synthetic_psg/conf/neuronet.yaml # option: YAML laid over recipes/conf/neuronet/$size.yaml
heads=egs/synthetic_psg/conf/heads.yaml   # option: YAML laid over recipes/conf/sleep/encoder.yaml
. recipes/lib.sh
options "$@"
. recipes/env.sh sleep
ssl=train # pretrained on without labels; some of it is labelled for the heads
signal="signal.channels=[Fpz-Cz]"

stage prepare --out "$data/all/wav.scp" -- \
    sigssl prepare synthetic_psg "$data" --nights "$nights" --subjects "$nights" --hours "$hours" --nj "$nj"
. recipes/sleep.sh
finish "$exp/report/REPORT.md and $exp/sleep"
