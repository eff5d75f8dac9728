"""Makes the network that comes with the package as `k2:nano`: python recipes/nano.py

Every code path of the large ones in a few megabytes: a dense layer and two with experts, INT4 in
groups of 32, YaRN, an index over several files. Its weights are drawn, not trained, from a fixed
seed, so the files are the same wherever and whenever this runs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from chogori.chat.tokenizer import NANO as VOCABULARY
from chogori.chat.tokenizer import Tokenizer
from chogori.engine.k2 import NANO
from chogori.model import K2, nano, save
from chogori.quant import ABSMAX_7

SEED = 2026
DEVIATION = 0.05
"""Wide enough that attention and routers tell tokens apart."""
SHARD_BYTES = 1_500_000
ABOUT = {
    "name": "k2-nano",
    "template": "k2-thinking",
    "notice": "k2:nano is untrained: it shows that everything works; what it says means nothing",
}


def make(folder: Path) -> None:
    """Write the checkpoint into `folder`, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    config = nano(vocab_size=Tokenizer.from_file(VOCABULARY).size)
    network = K2(config).draw_(SEED, DEVIATION)
    save(network, folder, form="int4", rule=ABSMAX_7, shard_bytes=SHARD_BYTES)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chogori": ABOUT}, indent=2) + "\n")


if __name__ == "__main__":
    make(NANO)
