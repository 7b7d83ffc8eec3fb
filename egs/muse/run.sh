#!/usr/bin/env bash
# Muse EEG (four dry electrodes): NeuroNet on windows about stimuli without labels, then probes of the stimulus by leave-one-person-out,
# beside the waveform, log power and the untrained encoder. The encoder of a fold never saw the person who is tested.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=           # option: the repository's data/visual, where it is not in $SIGSSL_DATA/eeg_muse
paradigm=N170   # option: N170, P300, SSVEP or cueing
size=tiny       # option: of the model: a file of recipes/conf/neuronet
people=         # option: whom to leave out in turn; all where empty
nj=2            # option: worker processes
data=egs/muse/data  # option: folder of the data directories
exp=egs/muse/exp    # option: folder of everything that is made
. recipes/lib.sh
options "$@"
. recipes/env.sh sleep
method=neuronet conf=egs/muse/conf/neuronet.yaml features=egs/muse/conf/eeg.yaml all=$data/$paradigm

stage prepare --out "$all/segments" -- sigssl prepare muse "$data" --paradigms "$paradigm" ${root:+--root "$root"}
. recipes/events.sh
finish "$exp/report/REPORT.md"
