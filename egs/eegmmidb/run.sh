#!/usr/bin/env bash
# EEG of movements made and imagined: NeuroNet on windows about the tasks without labels, then probes of rest, left and right fist by
# leave-one-person-out, beside the waveform, log power and the untrained encoder. Two persons are the least; the database has 109.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=           # option: the published tree, where it is not in $SIGSSL_DATA/eeg_eegmmidb
runs=fists      # option: fists, executed, imagined, tasks, baseline, all, or numbers
size=tiny       # option: of the model: a file of recipes/conf/neuronet
people=         # option: whom to leave out in turn; all where empty
nj=2            # option: worker processes
data=egs/eegmmidb/data  # option: folder of the data directories
exp=egs/eegmmidb/exp    # option: folder of everything that is made
. recipes/lib.sh
options "$@"
. recipes/env.sh sleep
method=neuronet conf=egs/eegmmidb/conf/neuronet.yaml features=egs/eegmmidb/conf/eeg.yaml all=$data/all

stage prepare --out "$all/segments" -- sigssl prepare eegmmidb "$data" --runs "$runs" --labels meaning ${root:+--root "$root"}
. recipes/events.sh
finish "$exp/report/REPORT.md"
