#!/usr/bin/env bash
# Prepares the data, trains within a time limit, and exports the model: what README.md describes, in one command.
#
#   tools/train/run.sh CORPORA OUT [MINUTES] [options of train.py]
#
# CORPORA holds tinystories_train.txt, tinystories_val.txt and books_children.txt. OUT is made; run again with the same OUT
# it resumes. MINUTES (115) counts the training of all runs together. OUT then holds checkpoint.pt, log.tsv and model.gguf.
# TERN_PYTHON_TOKENIZERS names a Python with the package tokenizers (default: a virtual environment OUT/venv is made).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
(($# >= 2)) || {
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
corpora=$1 out=$2 minutes=${3:-115}
shift $(($# < 3 ? $# : 3))
mkdir -p "$out"

python=${TERN_PYTHON_TOKENIZERS:-}
if [[ ! -e $out/data/val_chats.bin && -z $python ]]; then
  [[ -x $out/venv/bin/python ]] || python3 -m venv "$out/venv"
  "$out/venv/bin/python" -c 'import numpy, tokenizers' 2>/dev/null ||
    "$out/venv/bin/pip" install --quiet numpy tokenizers
  python=$out/venv/bin/python
fi
[[ -e $out/data/val_chats.bin ]] || "$python" "$here/prepare.py" --data "$corpora" --out "$out/data"

# Freed memory stays in the process: without this each large tensor is mapped and zeroed anew.
export MALLOC_TOP_PAD_=268435456 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_MMAP_THRESHOLD_=4294967296
python3 "$here/train.py" --data "$out/data" --out "$out" --minutes "$minutes" "$@"
python3 "$here/export_gguf.py" --checkpoint "$out/checkpoint.pt" --tokenizer "$out/data/tokenizer.json" -o "$out/model.gguf"
