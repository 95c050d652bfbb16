#!/bin/bash
# Sets up a node of a cluster; `ray up` and the autoscaler run it as it stands, once a node and whenever the cluster
# file or the code has changed. It expects a virtual environment with pyarrow in ~/apet, and in ~/apet-shelf the place
# that all nodes see, the shelf: s3://bucket/folder, gs://bucket/folder, or a folder on a shared disk.
#   node.sh head     builds a wheel of ~/apet-tree, puts it on the shelf with all that workers need, and installs it
#   node.sh worker   installs what was taken from the shelf into ~/apet-shelved, where this script lies then
set -euo pipefail
pip=~/apet/bin/pip shelved=~/apet-shelved

if [ "$1" = head ]; then
    rm -rf $shelved
    mkdir -m 700 $shelved
    export SOURCE_DATE_EPOCH=315532800 # equal code makes equal wheels
    $pip wheel -q --no-deps --wheel-dir $shelved ~/apet-tree
    cp ~/apet-tree/constraints.txt ~/apet-tree/node.sh ~/.ray/auth_token $shelved
    ~/apet/bin/python - "$(<~/apet-shelf)" $shelved <<'END'
import sys
from pyarrow.fs import FileSystem, copy_files

shelf, shelved = sys.argv[1:]
files, path = FileSystem.from_uri(shelf)
files.delete_dir_contents(path, missing_dir_ok=True)  # no wheel of an older version stays
copy_files(shelved, shelf)
END
    # what lies in the tree longer than this would get into the next wheel, though it was deleted where it came from
    rm -rf ~/apet-tree/build
    find ~/apet-tree/{trials,workers,orchestrator} -mindepth 1 -delete
fi

wheel=$(echo $shelved/*.whl)
mkdir -p -m 700 ~/.ray
install -m 600 $shelved/auth_token ~/.ray/auth_token

digest=$(cat "$wheel" $shelved/constraints.txt | sha256sum)
if [ "$(cat ~/apet/installed 2>/dev/null)" != "$digest" ]; then # else nothing is installed anew
    $pip install -q -c $shelved/constraints.txt "$wheel[cluster,quickstart]"
    $pip install -q --force-reinstall --no-deps "$wheel" # other code may have the version that is there
    echo "$digest" >~/apet/installed
fi

# one cache a node for weights and data, on the machine's own fast disk where Amazon's image has mounted one
cache=~/.cache
[ ! -w /opt/dlami/nvme ] || cache=/opt/dlami/nvme
cat >~/apet/env <<END
export PATH=~/apet/bin:\$PATH XDG_CACHE_HOME=$cache RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_JOB_STOP_WAIT_TIME_S=120
END
grep -qs apet/env ~/.bashrc || echo '. ~/apet/env' >>~/.bashrc # for ray exec, ray attach and people
~/apet/bin/apet --version
