"""A trained module as a file: what a store keeps below ``modules/`` and what ``apet export`` gives (docs/store.md).

Safetensors: the tensors ``theta`` and, of a trained head, ``head``; plain text beside them in the header, so that a
file says by itself which trial it is, and on which weights it was trained. Equal modules are equal bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trials.errors import ApetError
from trials.modules.methods import count_of
from trials.modules.positions import layout
from trials.store.seal import NO_CRC, header_is_whole, seal_header
from trials.trial import BackboneRef, Trial
from workers.backbone.load import Backbone
from workers.modules.modules import Modules

FORMAT, VERSION = "apet-module", 1
_HEADER = ("trial_id", "spec", "best_step", "weights_digest", "precision")


@dataclass(frozen=True, eq=False)
class ModuleFile:
    """The trained module of one trial at its best step.

    Args:
        trial: whose it is; its layout says where every scalar of θ sits.
        best_step: the step it is from.
        weights_digest: of the backbone it was trained on, ``workers.backbone.load.digest``.
        precision: of that backbone, ``fp32`` or ``bf16``; the digest depends on it.
        theta: float32 [count], laid out as ``workers.modules.modules`` says.
        head: a trained head, float32 [labels, d_model]; None where there is none.
    """

    trial: Trial
    best_step: int
    weights_digest: str
    precision: str
    theta: Tensor
    head: Tensor | None = None

    def to_bytes(self) -> bytes:
        """The file."""
        tensors = {"theta": self.theta} | ({} if self.head is None else {"head": self.head})
        header = {
            "format": FORMAT,
            "version": str(VERSION),
            "trial_id": self.trial.trial_id,
            "spec": self.trial.spec,
            "best_step": str(self.best_step),
            "weights_digest": self.weights_digest,
            "precision": self.precision,
            "crc32": NO_CRC,
        }
        plain = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
        return seal_header(_in_order(save(plain, metadata=header)))

    @staticmethod
    def from_bytes(data: bytes, where: str = "module file") -> ModuleFile:
        """Read what :meth:`to_bytes` wrote.

        Args:
            data: the file.
            where: its name, for messages.

        Raises:
            ApetError: damaged, no module file, or one of another version.
        """
        header = _header(data, where)
        try:
            trial = Trial.from_spec(header["spec"])
            count = count_of(trial.method, trial.backbone)
            tensors = load(data)
        except (ApetError, TypeError, SafetensorError) as error:
            raise _damaged(where, str(error)) from None
        theta, head = tensors.get("theta"), tensors.get("head")
        if trial.trial_id != header["trial_id"] or not header["best_step"].isdecimal():
            raise _damaged(where, "its header contradicts itself")
        if theta is None or theta.dtype != torch.float32 or theta.shape != (count,):
            raise _damaged(where, f"no tensor theta of {count} float32 scalars, as its trial has them")
        if (head is not None) != (trial.head == "trained"):
            raise _damaged(where, f"a tensor head belongs to head: trained, and its trial has head: {trial.head}")
        step, digest, precision = int(header["best_step"]), header["weights_digest"], header["precision"]
        return ModuleFile(trial, step, digest, precision, theta, head)

    def onto(self, backbone: Backbone) -> Modules:
        """The module on a backbone, θ set and bound: the next forward pass has it.

        Raises:
            ApetError: another backbone than the one it was trained on, by shape or by weights.
        """
        trained, given = self.trial.backbone, backbone.ref
        if (trained.family, trained.shape) != (given.family, given.shape):
            raise ApetError(
                f"module of trial {self.trial.trial_id}: trained on {_shape(trained)}, and this is {_shape(given)}; "
                f"load {trained.name}"
            )
        if backbone.weights_digest != self.weights_digest:
            raise ApetError(
                f"module of trial {self.trial.trial_id}: trained on {trained.name} with the weights "
                f"{self.weights_digest} in {self.precision}, and {backbone.weights_source} has "
                f"{backbone.weights_digest}; load the same weights in the same precision"
            )
        modules = Modules(backbone, [layout(self.trial)])
        modules.thetas[0].data.copy_(self.theta)
        modules.bind()
        return modules


def _in_order(data: bytes) -> bytes:
    """A safetensors file with its header's text in order of its keys: ``save`` has it in another in every process."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8, as safetensors has them
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def _header(data: bytes, where: str) -> dict[str, str]:
    """The text in the header of a module file of this version."""
    try:
        parsed = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        header = dict(parsed["__metadata__"])
    except (ValueError, KeyError, TypeError):
        raise _damaged(where, "no safetensors header with metadata") from None
    if header.get("format") != FORMAT:
        raise ApetError(f"{where}: its format is {header.get('format')!r}, and a trained module's is {FORMAT!r}")
    if header.get("version") != str(VERSION):
        raise ApetError(
            f"{where}: version {header.get('version')} of {FORMAT}; this build reads {VERSION}: "
            "use the release that wrote it, or run the trial again"
        )
    if not header_is_whole(data, header.get("crc32")):
        raise _damaged(where, "a byte of it has changed since it was written")
    missing = [key for key in _HEADER if key not in header]
    if missing:
        raise _damaged(where, f"its header lacks {', '.join(missing)}")
    return header


def _damaged(where: str, why: str) -> ApetError:
    return ApetError(f"{where}: no whole module file ({why}); copy it again, or run the trial again")


def _shape(ref: BackboneRef) -> str:
    s = ref.shape
    blocks = f"{s.blocks}+{s.decoder_blocks}" if s.decoder_blocks else str(s.blocks)
    return f"{ref.name} ({ref.family}, {blocks} blocks of {s.d_model})"
