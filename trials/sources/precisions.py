"""The precision that weights have in their files, with nothing loaded and no pickle run."""

from __future__ import annotations

import pickletools
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trials.errors import ApetError
from trials.sources.tensors import headers

_SAFETENSORS = {"F32": "fp32", "BF16": "bf16", "F16": "fp16", "F64": "fp64"}
_TORCH = {"FloatStorage": "fp32", "BFloat16Storage": "bf16", "HalfStorage": "fp16", "DoubleStorage": "fp64"}


def precision_of(files: Sequence[Path]) -> str | None:
    """fp32, bf16, fp16 or fp64: that of most of their scalars, in torch's own files of most tensors; None: unknown."""
    seen: Counter[str] = Counter()
    try:
        for path in files:
            if path.suffix == ".safetensors":
                for one in headers([path]).values():
                    seen[_SAFETENSORS.get(one.dtype, "")] += one.scalars
            elif path.suffix == ".bin" and zipfile.is_zipfile(path):
                seen += _storages(path)
    except (ApetError, OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    del seen[""]
    return seen.most_common(1)[0][0] if seen else None


def _storages(path: Path) -> Counter[str]:
    """How often a pickle names each kind of storage; it is taken apart, not run."""
    with zipfile.ZipFile(path) as archive:
        name = next((name for name in archive.namelist() if name.endswith("data.pkl")), "")  # there is no file ""
        words = [str(arg).rpartition(" ")[2] for _, arg, _ in pickletools.genops(archive.read(name)) if arg is not None]
    return Counter(_TORCH[word] for word in words if word in _TORCH)
