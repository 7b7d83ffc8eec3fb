#!/usr/bin/env bash
# Sleep-EDF cassette: NeuroNet-T on 68 % of the people without labels, heads on 12 % (with those for validation), tested on 20 %,
# as Lee et al. 2024 divide it, but by person; beside the same network from scratch and heads that see single epochs.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=                                           # option: folder of the published tree (SC4ssNE0-PSG.edf, SC4ssNEC-Hypnogram.edf)
download=false                                  # option: fetch what root lacks (8 GB, ODC-By 1.0), sums checked
nj=4                                            # option: worker processes
size=t                                          # option: of NeuroNet: base, t, fast or tiny
parts=ssl:0.68,train:0.09,dev:0.03,test:0.2     # option: shares of the people
data=egs/sleep_edf/data                         # option: folder of the data directories
exp=egs/sleep_edf/exp                           # option: folder of everything that is made
conf=egs/sleep_edf/conf/neuronet.yaml           # option: YAML laid over recipes/conf/neuronet/$size.yaml
heads=egs/sleep_edf/conf/heads.yaml             # option: YAML laid over recipes/conf/sleep/encoder.yaml
. recipes/lib.sh
options "$@"
. recipes/env.sh sleep
signal="signal.channels=[Fpz-Cz]" ssl=ssl

stage prepare --out "$data/all/wav.scp" -- \
    sigssl prepare sleep_edf "$data" --study cassette --download "$download" ${root:+--root "$root"} --nj "$nj"
. recipes/sleep.sh
finish "$exp/report/REPORT.md and $exp/sleep"
